"""Every setting, read from the environment once. The help texts are the README's table."""

import os
import sys
from pathlib import Path

from orchestrator import env
from orchestrator.core.headers import HSTS_S
from orchestrator.core.limits import PRIVATE_NETWORKS
from orchestrator.core.presets import PRESETS
from orchestrator.core.redaction import hide
from orchestrator.core.redis_address import password_of, sentinels
from orchestrator.core.secrets import NoSecret, master_secret

BASE_DIR = Path(__file__).resolve().parent.parent

env.section("Where and how it runs")

ORCHESTRATOR_ENV = env.choice(
    "ORCHESTRATOR_ENV",
    "production",
    "Chooses defaults only; `development` shows error pages with details.",
    of=("development", "production", "test"),
)
DATA_DIR = env.path(
    "ORCHESTRATOR_DATA_DIR",
    BASE_DIR / "var",
    "Databases, models, keys. Nothing is written outside it, but for `OLLAMA_MODELS`.",
    shown="./var",
)
ADDRESS = env.address("OLLAMA_HOST", "127.0.0.1:11434", "Where to listen, as `[scheme://]host[:port]`.")
WEB_WORKERS = env.integer(
    "ORCHESTRATOR_WEB_WORKERS",
    max(1, (os.cpu_count() or 2) - 1),
    "Web processes.",
    least=1,
    most=256,
    shown="cores − 1, at least 1",
)
DRAIN_S = env.seconds(
    "ORCHESTRATOR_DRAIN_S", 10, "How long running answers may take to finish when it is told to stop."
)
REDIS_URL = env.redis(
    "REDIS_URL",
    "A Redis to share; `redis+sentinel://host:26379,host2:26379/service/0` asks Sentinels for it."
    " Unset: a private one is started when a redis-server is installed.",
    shown="a private Redis",
)
OLLAMA_DEBUG = env.flag("OLLAMA_DEBUG", "1: log as much as there is, unless the next one says otherwise.")
LOG_LEVEL = env.choice(
    "ORCHESTRATOR_LOG_LEVEL",
    "debug" if OLLAMA_DEBUG else "info",
    "How much is logged to standard error.",
    of=("debug", "info", "warning", "error"),
)

env.section("Who may ask")

REQUIRE_KEYS = env.flag("ORCHESTRATOR_REQUIRE_KEYS", "1: every call needs an API key (`manage.py issue_key`).")
ALLOW_OPEN = env.flag(
    "ORCHESTRATOR_ALLOW_OPEN", "1: listen beyond this machine without keys. Anyone who reaches it may use it."
)
ORIGINS = env.words("OLLAMA_ORIGINS", (), "Web origins allowed besides the local ones, one `*` in each at most.")
METRICS_TOKEN = env.secret(
    "ORCHESTRATOR_METRICS_TOKEN", "Bearer token `/metrics` takes besides API keys. Set, it asks for either in any case."
)
PUBLIC_HOSTS = env.words(
    "ORCHESTRATOR_HOSTS", (), "Host names the dashboard may be reached by when not on this machine."
)
REQUIRE_TWO_FACTOR = env.choice(
    "ORCHESTRATOR_REQUIRE_TWO_FACTOR",
    "none",
    "Who must sign in with a code of an authenticator besides: `none`, `admins` or `everybody`.",
    of=("none", "admins", "everybody"),
)
TRUSTED_PROXY = env.flag("ORCHESTRATOR_BEHIND_TLS", "1: a proxy in front ends TLS and sets `X-Forwarded-Proto`.")
SESSION_IDLE_S = env.seconds(
    "ORCHESTRATOR_SESSION_IDLE_S",
    8 * 3600,
    "How long somebody stays signed in to the pages who does nothing there; pages that renew themselves do not count.",
    least=60,
)
SESSION_MOST_S = env.seconds(
    "ORCHESTRATOR_SESSION_MOST_S", 7 * 86400, "How long anybody stays signed in to the pages.", least=60
)
TRUSTED_PROXIES = env.networks(
    "ORCHESTRATOR_TRUSTED_PROXIES",
    PRIVATE_NETWORKS if TRUSTED_PROXY else (),
    "Addresses and networks of proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed,"
    " and nobody else's.",
    shown="loopback and private networks with `ORCHESTRATOR_BEHIND_TLS`, else none",
)

env.section("Local models")

MODELS_DIR = env.path(
    "OLLAMA_MODELS",
    DATA_DIR / "models",
    "Where local models are kept, in Ollama's layout.",
    shown="models in the data directory",
)
KEEP_ALIVE_S = env.keep_alive(
    "OLLAMA_KEEP_ALIVE", 300.0, "How long an unused model stays loaded; negative: for ever.", shown="5m"
)
MAX_LOADED_MODELS = env.integer(
    "OLLAMA_MAX_LOADED_MODELS", 0, "Models loaded at once; 0: as many as the memory holds.", most=1000
)
NUM_PARALLEL = env.integer("OLLAMA_NUM_PARALLEL", 4, "Answers one model makes at once.", least=1, most=64)
MAX_QUEUE = env.integer(
    "OLLAMA_MAX_QUEUE", 512, "Requests that may wait for a model; one more is answered 503.", least=1, most=100_000
)
CONTEXT_LENGTH = max(
    env.integer("OLLAMA_CONTEXT_LENGTH", 4096, "Context of a loaded model, in tokens, unless `num_ctx` says otherwise.")
    or 4096,
    4,
)
LOAD_TIMEOUT_S = max(
    env.keep_alive(
        "OLLAMA_LOAD_TIMEOUT", 300.0, "How long loading a model may take; 0 and negative: any time.", shown="5m"
    ),
    0.0,
)
MODEL_MEMORY = env.size(
    "ORCHESTRATOR_MODEL_MEMORY", 0, "Memory for loaded models, in bytes.", shown="70 % of what is free at start"
)
MODEL_THREADS = env.integer("ORCHESTRATOR_MODEL_THREADS", 0, "Threads a model computes with; 0: measured.", most=1024)

env.section("Cloud models")

PROVIDER_KEYS: dict[str, str] = {}
PROVIDER_ADDRESSES: dict[str, str] = {}
for _provider in PRESETS:
    _keys = [env.key(_provider.key_variables[0], f"Key of {_provider.title}.")]
    _keys += [env.key(_name, f"The same as `{_provider.key_variables[0]}`.") for _name in _provider.key_variables[1:]]
    PROVIDER_KEYS[_provider.name] = next((key for key in _keys if key), "")
    PROVIDER_ADDRESSES[_provider.name] = env.url(
        _provider.address_variable,
        "",
        f"Address of {_provider.title}. Unset: it is off."
        if not _provider.address
        else "Its address. Unset, with no key either: it is off.",
        schemes=("http", "https"),
        shown=_provider.address or None,
    )
CONNECT_TIMEOUT_S = env.seconds(
    "ORCHESTRATOR_CONNECT_TIMEOUT_S", 5, "How long connecting to a provider may take.", least=0.01
)
FIRST_TOKEN_TIMEOUT_S = env.seconds(
    "ORCHESTRATOR_FIRST_TOKEN_TIMEOUT_S", 60, "How long a provider may take to begin answering.", least=0.01
)
TOKEN_TIMEOUT_S = env.seconds(
    "ORCHESTRATOR_TOKEN_TIMEOUT_S", 30, "How long a provider may pause within an answer.", least=0.01
)
ANSWER_TIMEOUT_S = env.seconds("ORCHESTRATOR_ANSWER_TIMEOUT_S", 600, "How long a whole answer may take.", least=0.01)
PROVIDER_CHECK_S = env.seconds(
    "ORCHESTRATOR_PROVIDER_CHECK_S",
    30,
    "How often each provider is asked for its list of models, free of charge, to see how it is; 0: never.",
)

env.section("Every model")

UNSUPPORTED = env.choice(
    "ORCHESTRATOR_UNSUPPORTED",
    "contract",
    "What becomes of what a model cannot do. `contract`: what Ollama refuses is refused, the rest is left out and said;"
    " `warn`: all of it is left out and said; `drop`: left out, said in the record only; `reject`: 400 that names it.",
    of=("contract", "warn", "drop", "reject"),
)
ADAPT = env.choice(
    "ORCHESTRATOR_ADAPT",
    "chosen",
    "For which models functions are told in words and read from text, where they know of none. `chosen`: those that a"
    " rule or `auto` chose; `always`; `never`: nor are stop strings, JSON and system messages seen to.",
    of=("never", "chosen", "always"),
)

env.section("Cache")

CACHE_TTL_S = env.seconds("ORCHESTRATOR_CACHE_TTL_S", 7 * 86400, "How long a cached answer stays valid.", least=1)
CACHE_MEMORY = env.size(
    "ORCHESTRATOR_CACHE_MEMORY", 128 * 1024**2, "Memory for cached answers in each web process.", shown="128MB"
)
REPLAY_MEMORY = env.size(
    "ORCHESTRATOR_REPLAY_MEMORY",
    64 * 1024**2,
    "Memory for ready-made replies to requests that come again, in each web process; 0: none.",
    shown="64MB",
)
CACHE_DISK = env.size("ORCHESTRATOR_CACHE_DISK", 4 * 1024**3, "Cached answers kept in SQLite, in bytes.", shown="4GB")
CACHE_REDIS_MEMORY = env.size(
    "ORCHESTRATOR_CACHE_REDIS_MEMORY", 256 * 1024**2, "Memory of the private Redis.", shown="256MB"
)
REDIS_TIMEOUT_S = env.seconds(
    "ORCHESTRATOR_REDIS_TIMEOUT_S", 0.05, "How long a request waits for Redis before it goes on without.", least=0.001
)

env.section("Bounds")

MAX_BODY = env.size(
    "ORCHESTRATOR_MAX_BODY",
    32 * 1024**2,
    "Largest request body; a larger one is answered 413.",
    least=1024,
    shown="32MB",
)
BODY_TIMEOUT_S = env.seconds(
    "ORCHESTRATOR_BODY_TIMEOUT_S", 30, "How long a request body may take to arrive.", least=0.1
)
QUEUE = env.integer(
    "ORCHESTRATOR_QUEUE",
    1024,
    "Calls that may wait in each web process while more is asked of it than it can do; one more is answered 503, or"
    " 429 where its tenant has its share.",
    least=1,
    most=100_000,
)
QUEUE_TIMEOUT_S = env.seconds(
    "ORCHESTRATOR_QUEUE_TIMEOUT_S", 10, "How long one may wait there before it is answered 503.", least=0.1
)
SEND_TIMEOUT_S = env.seconds(
    "ORCHESTRATOR_SEND_TIMEOUT_S", 60, "How long a caller may take nothing of its answer.", least=0.1
)
MAX_ANSWER = env.size(
    "ORCHESTRATOR_MAX_ANSWER",
    8 * 1024**2,
    "Longest answer; a longer one is ended with an error.",
    least=1024,
    shown="8MB",
)
FETCH_IMAGES = env.flag(
    "ORCHESTRATOR_FETCH_IMAGES",
    "1: pictures that a request names by address (`image_url`, `source` of type `url`) are fetched, from the public"
    " internet only. Ollama refuses them, as 0 does.",
)
FETCH_HOSTS = env.words(
    "ORCHESTRATOR_FETCH_HOSTS", (), "Hosts that are fetched from, `*.example.org` for all below one. Unset: any."
)
FETCH_PORTS = env.ports("ORCHESTRATOR_FETCH_PORTS", (80, 443), "Ports that are fetched from.")
FETCH_NETWORKS = env.networks(
    "ORCHESTRATOR_FETCH_NETWORKS",
    (),
    "Networks of yours that may be fetched from although they are not public, such as `10.1.2.0/24`.",
)

env.section("Records and alerts")

RECORD_DAYS = env.integer(
    "ORCHESTRATOR_RECORD_DAYS",
    90,
    "Days a request record is kept, with its decision and what was said of its answer.",
    least=1,
    most=36500,
)
CHARGE_DAYS = env.integer(
    "ORCHESTRATOR_CHARGE_DAYS",
    400,
    "Days it is kept what each call cost; the sums of each day stay for good.",
    least=32,  # a budget that is made counts what its month had cost before
    most=36500,
)
ALERT_URL = env.url(
    "ORCHESTRATOR_ALERT_URL",
    "",
    "Where to send alerts of budgets, as a webhook. Unset: they are logged and listed.",
    schemes=("http", "https"),
)
ALERT_SECRET = env.secret("ORCHESTRATOR_ALERT_SECRET", "What alerts are signed with: any text, or `whsec_` and base64.")
if ALERT_URL and not ALERT_SECRET:
    raise env.BadSetting("ORCHESTRATOR_ALERT_URL needs ORCHESTRATOR_ALERT_SECRET: alerts are signed.")

# Secrets: one file, from which each use derives its own key

os.umask(os.umask(0o077) | 0o077)  # whatever is written from here on is for this user alone
try:
    for folder in (DATA_DIR, DATA_DIR / "keys", DATA_DIR / "run"):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(None, "it cannot be written")
except OSError as error:
    raise env.BadSetting(
        f"ORCHESTRATOR_DATA_DIR={DATA_DIR} cannot be used: {error.strerror}. Name a folder that can be written."
    ) from None
MASTER_FILE = DATA_DIR / "keys" / "master"
try:
    _masters = master_secret(MASTER_FILE, may_be_made=not (DATA_DIR / "ledger.sqlite3").exists())
except (NoSecret, OSError) as error:
    raise env.BadSetting(str(error)) from None
# Each: the key that seals, and those of before a rotation, which only open.
_secret_key, *_old_secret_keys = _masters.keys("django")
SECRET_KEY, SECRET_KEY_FALLBACKS = _secret_key.hex(), [key.hex() for key in _old_secret_keys]
API_KEY_PEPPER, *OLD_API_KEY_PEPPERS = _masters.keys("api keys")
CACHE_MAC_KEY, *OLD_CACHE_MAC_KEYS = _masters.keys("cache values")
PROVIDER_KEYS_KEY, *OLD_PROVIDER_KEYS_KEYS = _masters.keys("provider keys")
SECOND_FACTOR_KEY, *OLD_SECOND_FACTOR_KEYS = _masters.keys("second factors")
AUDIT_KEY, *OLD_AUDIT_KEYS = _masters.keys("audit")
hide(
    *PROVIDER_KEYS.values(),
    METRICS_TOKEN,
    ALERT_URL,
    ALERT_SECRET,
    password_of(REDIS_URL),
    SECRET_KEY,
    _masters.current.hex(),
    *(key.hex() for key in (API_KEY_PEPPER, CACHE_MAC_KEY, PROVIDER_KEYS_KEY, SECOND_FACTOR_KEY, AUDIT_KEY)),
)

# What the supervisor tells its children.
FROM_SUPERVISOR = frozenset({"ORCHESTRATOR_PRIVATE_REDIS", "ORCHESTRATOR_PULSE_FD", "ORCHESTRATOR_WEB_NUMBER"})
env.check_names("ORCHESTRATOR_", besides=FROM_SUPERVISOR)

# Files and sockets of the processes

RUN_DIR = DATA_DIR / "run"
MODELS_SOCKET = RUN_DIR / "models.sock"
PAGES_SOCKET = RUN_DIR / "pages.sock"
REDIS_SOCKET = RUN_DIR / "redis.sock"
GENERATION_FILE = RUN_DIR / "generation"
PEOPLE_FILE = RUN_DIR / "people"  # counts what may end a session
METRICS_DIR = RUN_DIR / "metrics"
WEB_NUMBER = os.environ.get("ORCHESTRATOR_WEB_NUMBER", "")  # which web worker this is; no two have one at a time

# The supervisor tells its children about the Redis it started; a command beside them sees its socket.
REDIS_LOCATION = REDIS_URL or os.environ.get("ORCHESTRATOR_PRIVATE_REDIS", "")
if not REDIS_LOCATION and REDIS_SOCKET.exists():
    REDIS_LOCATION = f"unix://{REDIS_SOCKET}?db=0"

# Django

DEBUG = ORCHESTRATOR_ENV == "development"
IS_LOOPBACK = ADDRESS.host in {"localhost", "::1"} or ADDRESS.host.startswith("127.")
ALLOWED_HOSTS = (
    ["localhost", ".localhost", "127.0.0.1", "[::1]", *PUBLIC_HOSTS] if IS_LOOPBACK or PUBLIC_HOSTS else ["*"]
)
_WITHOUT_API = ("orchestrator/modelhost/__main__.py", "orchestrator/supervisor/worker.py")
INSTALLED_APPS = [
    # Before staticfiles: its runserver is the development server. Elsewhere it would load Twisted for nothing.
    *(["daphne"] if sys.argv[1:2] == ["runserver"] else []),
    "dashboard.records.apps.RecordsConfig",  # django.contrib.admin, with the dashboard's door
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "django_htmx",
    "template_partials",
    # For the pages of the API's description, which these do not show: an eighth of a second of their start.
    *(["ninja"] if not (sys.argv[1:2] == ["serve"] or sys.argv[0].endswith(_WITHOUT_API)) else []),
    "orchestrator",
    "orchestrator.registry.apps.RegistryConfig",
    "cache",
    "routing",
    "dashboard",
]
MIDDLEWARE = [
    "dashboard.middleware.guards",  # around all others, so that their refusals are guarded, too
    "django.middleware.security.SecurityMiddleware",
    "dashboard.static_files.StaticFiles",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "dashboard.middleware.sessions_end",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "dashboard.access.Door",
]
ROOT_URLCONF = "orchestrator.urls"
ASGI_APPLICATION = "orchestrator.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "dashboard.access.may",
            ]
        },
    }
]


def _sqlite(name: str, synchronous: str, engine: str) -> dict[str, object]:
    return {
        "ENGINE": engine,
        "NAME": DATA_DIR / name,
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 5,  # seconds a writer waits for its turn
            "init_command": "PRAGMA auto_vacuum=INCREMENTAL; PRAGMA journal_mode=WAL;"
            f" PRAGMA synchronous={synchronous}; PRAGMA journal_size_limit=67108864; PRAGMA foreign_keys=ON;",
        },
        "TEST": {"NAME": DATA_DIR / f"test-{name}"},
    }


# Two files: what must survive a power cut, and what may be deleted at any time.
DATABASES = {
    "default": _sqlite("ledger.sqlite3", "FULL", "orchestrator.sqlite"),  # whose writers take turns
    "cache": _sqlite("cache.sqlite3", "NORMAL", "django.db.backends.sqlite3"),
}
DATABASE_ROUTERS = ["orchestrator.databases.CacheFile"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"


def _redis_cache(location: str) -> dict[str, object]:
    # Version 2 needs no greeting: one round trip less before a connection is of use, two without `driver_info`.
    pool: dict[str, object] = {"protocol": 2, "driver_info": None}
    options: dict[str, object] = {
        "SERIALIZER": "cache.tiers.redis.Bytes",
        "PARSER_CLASS": "cache.tiers.redis.WholeReply",
        "SOCKET_CONNECT_TIMEOUT": REDIS_TIMEOUT_S,
        "SOCKET_TIMEOUT": REDIS_TIMEOUT_S,
        "CONNECTION_POOL_KWARGS": pool,
    }
    if asked := sentinels(location):
        location = f"redis://sentinels/{asked.db}"
        pool["service_name"] = asked.service  # else it would be the host's name here, which is all lower case
        options |= {
            "CLIENT_CLASS": "django_redis.client.SentinelClient",
            "CONNECTION_FACTORY": "django_redis.pool.SentinelConnectionFactory",
            "SENTINELS": list(asked.hosts),
            "SENTINEL_KWARGS": {"socket_connect_timeout": REDIS_TIMEOUT_S, "socket_timeout": REDIS_TIMEOUT_S},
            "USERNAME": asked.username,
            "PASSWORD": asked.password,
        }
    return {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": location,
        "KEY_PREFIX": "orchestrator",
        "OPTIONS": options,
    }


CACHES: dict[str, dict[str, object]] = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
if REDIS_LOCATION:
    CACHES["redis"] = _redis_cache(REDIS_LOCATION)

LANGUAGE_CODE = "en-gb"
FORMAT_MODULE_PATH = "dashboard.records.formats"  # dates of the records that sort as they read
USE_I18N = False
USE_TZ = True
TIME_ZONE = "UTC"
STATIC_URL = "static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
WHITENOISE_USE_FINDERS = True  # files come from where they are installed; there is no collecting step
WHITENOISE_ALLOW_ALL_ORIGINS = False  # they are for these pages alone
LOGIN_URL = "dashboard:sign-in"
AUTHENTICATION_BACKENDS = ["dashboard.backend.RolesBackend"]
PASSWORD_HASHERS = [  # the first makes new ones; a password kept by another is hashed anew when it is used
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}", "OPTIONS": options}
    for name, options in (
        ("MinimumLengthValidator", {"min_length": 12}),
        ("UserAttributeSimilarityValidator", {}),
        ("CommonPasswordValidator", {}),
        ("NumericPasswordValidator", {}),
    )
]
# "__Host-": browsers take it over TLS only, for this host alone, and let no other host set it.
_COOKIE = "__Host-orchestrator_" if TRUSTED_PROXY else "orchestrator_"
SESSION_COOKIE_NAME = f"{_COOKIE}session"
CSRF_COOKIE_NAME = f"{_COOKIE}csrf"
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"  # "Strict" would lose who comes by a link
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = TRUSTED_PROXY
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True
SESSION_COOKIE_AGE = int(SESSION_IDLE_S)
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"  # no third cookie, and none with words in it
if TRUSTED_PROXY:
    SECURE_SSL_REDIRECT = True
    SECURE_HSTS_SECONDS = HSTS_S
# Whether its other hosts and the browsers' lists may hold it to TLS is for a domain's owner to say, not for one host.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
DATA_UPLOAD_MAX_MEMORY_SIZE = 2 * 1024**2

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "class": "orchestrator.logs.Line",
            "format": "{asctime} {levelname} {name}: {message}",
            "style": "{",
        }
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL.upper()},
    "loggers": {
        "httpx": {"level": "WARNING"},  # it logs one line per call, with the address
        "django.request": {"level": "ERROR"},
        "uvicorn": {"level": "WARNING"},  # it tells that it starts and stops; `serve` does
    },
}
