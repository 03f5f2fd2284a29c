"""What is unsafe or unwise about how it is set up, each with what it means and what to do about it.

Built on Django's checks. Those tagged `START` are asked at each start, and what is fatal among them stops it; the
others read the database or ask other machines, and only `manage.py doctor` waits for them. A finding is
`fatal` (it must not serve like that), `unsafe` (somebody may read or do what they should not, or data be lost), or
`unwise`.
"""

START = "orchestrator"
DOCTOR = "orchestrator-doctor"
