"""The shapes of answers, for the description alone: endpoints write theirs as bytes.

Tests compare them with what the product sends.
"""

from __future__ import annotations

from pydantic import BaseModel

from orchestrator.api.answers import access, anthropic, costs, ollama, openai, ours, registry, responses

ANSWERS: dict[tuple[str, str], type[BaseModel]] = {
    ("get", "/healthz"): ours.Alive,
    ("get", "/readyz"): ours.Readiness,
    ("get", "/api/stats"): ours.Stats,
    ("get", "/api/admin/v1/cache"): ours.HeldAnswers,
    ("delete", "/api/admin/v1/cache"): ours.PurgedAnswers,
    ("get", "/api/admin/v1/costs"): costs.CostsTold,
    ("get", "/api/admin/v1/registry"): registry.RegistryTold,
    ("put", "/api/admin/v1/registry"): registry.Changed,
    ("post", "/api/admin/v1/registry/check"): registry.Checked,
    ("get", "/api/admin/v1/registry/versions"): registry.VersionsTold,
    ("get", "/api/admin/v1/registry/versions/{number}"): registry.VersionTold,
    ("post", "/api/admin/v1/registry/versions/{number}/restore"): registry.Changed,
    ("get", "/api/admin/v1/providers"): registry.ProvidersTold,
    ("get", "/api/admin/v1/providers/{name}"): registry.ProviderTold,
    ("put", "/api/admin/v1/providers/{name}"): registry.Changed,
    ("delete", "/api/admin/v1/providers/{name}"): registry.Changed,
    ("get", "/api/admin/v1/models"): registry.ModelsTold,
    ("get", "/api/admin/v1/models/{name}"): registry.ModelTold,
    ("put", "/api/admin/v1/models/{name}"): registry.Changed,
    ("delete", "/api/admin/v1/models/{name}"): registry.Changed,
    ("get", "/api/admin/v1/keys"): access.ApiKeysTold,
    ("post", "/api/admin/v1/keys"): access.ApiKeyIssued,
    ("get", "/api/admin/v1/keys/{prefix}"): access.ApiKeyTold,
    ("patch", "/api/admin/v1/keys/{prefix}"): access.ApiKeyTold,
    ("delete", "/api/admin/v1/keys/{prefix}"): access.ApiKeyTold,
    ("post", "/api/admin/v1/keys/{prefix}/rotate"): access.ApiKeyIssued,
    ("get", "/api/admin/v1/tenants"): access.TenantsTold,
    ("post", "/api/admin/v1/tenants"): access.TenantTold,
    ("patch", "/api/admin/v1/tenants/{name}"): access.TenantTold,
    ("get", "/api/admin/v1/people"): access.PeopleTold,
    ("post", "/api/admin/v1/people"): access.PersonInvited,
    ("get", "/api/admin/v1/people/{name}"): access.PersonTold,
    ("delete", "/api/admin/v1/people/{name}"): access.Deleted,
    ("put", "/api/admin/v1/people/{name}/role"): access.PersonChanged,
    ("post", "/api/admin/v1/people/{name}/link"): access.LinkTold,
    ("delete", "/api/admin/v1/people/{name}/two-factor"): access.PersonTold,
    ("get", "/api/admin/v1/teams"): access.TeamsTold,
    ("post", "/api/admin/v1/teams"): access.TeamTold,
    ("delete", "/api/admin/v1/teams/{tenant}/{name}"): access.Deleted,
    ("get", "/api/admin/v1/grants"): access.GrantsTold,
    ("post", "/api/admin/v1/grants"): access.GrantTold,
    ("delete", "/api/admin/v1/grants/{owner}/{reader}"): access.Deleted,
    ("get", "/api/admin/v1/limits"): access.LimitsTold,
    ("post", "/api/admin/v1/limits"): access.LimitTold,
    ("get", "/api/admin/v1/limits/{name}"): access.LimitTold,
    ("patch", "/api/admin/v1/limits/{name}"): access.LimitTold,
    ("delete", "/api/admin/v1/limits/{name}"): access.Deleted,
    ("get", "/api/admin/v1/audit"): access.EventsTold,
    ("post", "/api/chat"): ollama.ChatAnswer,
    ("post", "/api/generate"): ollama.GenerateAnswer,
    ("post", "/api/embed"): ollama.EmbedAnswer,
    ("post", "/api/embeddings"): ollama.EmbeddingsAnswer,
    ("post", "/api/show"): ollama.ShowAnswer,
    ("get", "/api/tags"): ollama.Listing,
    ("get", "/api/ps"): ollama.AllLoaded,
    ("get", "/api/version"): ollama.Version,
    ("get", "/api/status"): ollama.CloudStatus,
    ("get", "/api/experimental/model-recommendations"): ollama.Recommendations,
    ("post", "/v1/chat/completions"): openai.Completion,
    ("post", "/v1/completions"): openai.TextCompletion,
    ("post", "/v1/responses"): responses.Response,
    ("post", "/v1/embeddings"): openai.OpenAIEmbeddings,
    ("get", "/v1/models"): openai.OpenAIModels,
    ("get", "/v1/models/{name}"): openai.OpenAIModel,
    ("post", "/v1/messages"): anthropic.AnthropicAnswer,
    ("post", "/v1/messages/count_tokens"): anthropic.TokenCount,
}
# What one line, or the data of one event, may be.
STREAMED: dict[str, tuple[type[BaseModel], ...]] = {
    "/api/chat": (ollama.ChatAnswer, ollama.OllamaError),
    "/api/generate": (ollama.GenerateAnswer, ollama.OllamaError),
    "/v1/chat/completions": (openai.CompletionChunk, openai.OpenAIError),
    "/v1/completions": (openai.TextChunk, openai.OpenAIError),
    "/v1/responses": (responses.ResponseEvent,),
    "/v1/messages": (anthropic.MessageEvent,),
}
ERRORS: tuple[type[BaseModel], ...] = (ollama.OllamaError, openai.OpenAIError, anthropic.AnthropicError)
