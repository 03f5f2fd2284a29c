"""Names of local models."""

import pytest

from orchestrator.modelhost.names import Name, is_name


@pytest.mark.parametrize(
    ("text", "short", "full"),
    [
        ("llama3.2", "llama3.2:latest", "registry.ollama.ai/library/llama3.2:latest"),
        ("smollm2:135m", "smollm2:135m", "registry.ollama.ai/library/smollm2:135m"),
        ("alice/tiny:Q4", "alice/tiny:Q4", "registry.ollama.ai/alice/tiny:Q4"),
        ("hf.co/user/repo:Q4_K_M", "hf.co/user/repo:Q4_K_M", "hf.co/user/repo:Q4_K_M"),
        ("https://localhost:5000/a/b", "localhost:5000/a/b:latest", "localhost:5000/a/b:latest"),
        ("registry.ollama.ai/library/x:latest", "x:latest", "registry.ollama.ai/library/x:latest"),
    ],
)
def test_a_name_is_completed_and_shortened(text: str, short: str, full: str):
    name = Name.parse(text)
    assert str(name) == short
    assert name.full == full


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " ",
            "a b",
            ".",
            "..",
            "../x",
            "a/../b",
            "/etc/passwd",
            "-x",
            "x:",
            ":x",
            "a//b",
            "a/b/",
            "x:y:z",
            "x@sha256:0",
        ),
        *("x" * 33 + "://h/a/b", "x" * 10**6, "x" * 10**6 + "://h/a/b"),
        *("a.b/c", "a/b/c/d", "x" * 81, "x:" + "y" * 81, "ä", "x\n", "x\0", "a\\b", "%2e%2e/x"),
    ],
)
def test_what_is_not_a_name_is_refused(text: str):
    with pytest.raises(ValueError, match="invalid model name"):
        Name.parse(text)
    assert not is_name(text)


def test_no_part_of_a_name_leads_out_of_a_folder():
    for part in Name.parse("h.x:80/n-s/..x".replace("..x", "m..x")).parts:
        assert "/" not in part
        assert part not in {".", ".."}


def test_case_does_not_count():
    assert Name.parse("SmolLM2:135M").folded == Name.parse("smollm2:135m").folded
