"""The pages of requests: which are asked for, how they are found, and what is told of one."""
