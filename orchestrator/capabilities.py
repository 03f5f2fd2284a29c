"""What a request needs that a model may lack."""

from orchestrator.core.errors import Unsupported
from orchestrator.core.types import ChatRequest, Model
from orchestrator.modelhost.names import Name


def require(request: ChatRequest, model: Model) -> None:
    """Raises Unsupported, in the words Ollama's clients know, when `model` cannot do what `request` asks."""
    able = model.capabilities
    if request.inputs is not None:
        if "embedding" not in able:
            raise Unsupported("this model does not support embeddings")
        return
    if request.think and "thinking" not in able:
        raise Unsupported(f'"{request.model}" does not support thinking')
    if "completion" not in able:
        verb = "generate" if request.endpoint in {"/api/generate", "/v1/completions"} else "chat"
        raise Unsupported(f'"{request.model}" does not support {verb}')
    if request.tools and "tools" not in able:
        raise Unsupported(f"{full_name(model)} does not support tools")
    if "vision" not in able and any(message.images for message in request.messages):
        raise Unsupported(f"{full_name(model)} does not support images")


def full_name(model: Model) -> str:
    """The name with every part, as Ollama shows it in these messages."""
    return model.name if model.remote_name or model.is_paid else Name.parse(model.name).full
