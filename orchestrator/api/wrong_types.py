"""A field of the wrong type, said as Go's decoder says it."""

from typing import Any

GO_KINDS = {str: "string", bool: "bool", int: "number", float: "number", list: "array", dict: "object"}
GO_TYPES = {
    "string_type": "string",
    "bool_type": "bool",
    "int_type": "int",
    "int_from_float": "int",
    "float_type": "float64",
    "dict_type": "map[string]interface {}",
}
GO_LISTS = {
    "messages": "[]api.Message",
    "tools": "api.Tools",
    "images": "[]api.ImageData",
    "context": "[]int",
    "tool_calls": "[]api.ToolCall",
}
GO_MODELS = {
    "messages": "api.Message",
    "tool_calls": "api.ToolCall",
    "function": "api.ToolCallFunction",
    "stream_options": "openai.StreamOptions",
}


EMPTY, EMPTY_V1 = "missing request body", "EOF"
GO_STRUCTS = {
    "/api/chat": "ChatRequest",
    "/api/generate": "GenerateRequest",
    "/api/show": "ShowRequest",
    "/api/embed": "EmbedRequest",
    "/api/embeddings": "EmbeddingRequest",
    "/v1/chat/completions": "ChatCompletionRequest",
    "/v1/completions": "CompletionRequest",
    "/v1/embeddings": "EmbedRequest",
    "/v1/responses": "ResponsesRequest",
    "/v1/messages": "MessagesRequest",
    "/v1/messages/count_tokens": "MessagesRequest",
}


def go_words(errors: list[dict[str, Any]], endpoint: str) -> str:
    """The first of pydantic's `errors` in the words clients of Ollama know."""
    error = errors[0]
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    path = [str(part) for part in error["loc"] if not isinstance(part, int)]
    # ninja puts where it comes from and the parameter's name in front; a union adds the branch that failed
    field = [part for part in path[2:] if part.isidentifier() and part not in {"str", "int", "float"}]
    if path[:1] != ["body"]:
        return f"{'.'.join(path[1:])}: {error['msg']}"
    if error["type"] == "missing" and not field:
        return EMPTY_V1 if endpoint.startswith("/v1/") else EMPTY
    kind = GO_KINDS.get(type(error.get("input")), "null")
    if error["type"] == "missing":
        return f"{'.'.join(field)} is required"
    if error["type"] == "list_type":
        go_type = GO_LISTS.get(field[-1] if field else "", "[]interface {}")
    elif error["type"] in {"model_type", "model_attributes_type"}:
        go_type = GO_MODELS.get(field[-1] if field else "", "api.Request")
    elif error["type"] in GO_TYPES:
        go_type = GO_TYPES[error["type"]]
    else:
        return f"{'.'.join(field)}: {error['msg']}"
    struct = GO_STRUCTS.get(endpoint, "Request")
    if not field:
        return f"json: cannot unmarshal {kind} into Go value of type api.{struct}"
    return f"json: cannot unmarshal {kind} into Go struct field {struct}.{'.'.join(field)} of type {go_type}"
