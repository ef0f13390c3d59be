"""All settings, in one file. Every value that an operator may change is read from the environment by a typed reader
that refuses nonsense in one sentence; README lists them."""

import re
from pathlib import Path

import environ
from celery.schedules import crontab
from django.core.exceptions import ImproperlyConfigured

env = environ.Env()

BASE_DIR = Path(__file__).resolve().parent.parent
DATA_DIR = Path(env.str("DATA_DIR", default=str(BASE_DIR / "var" / "data"))).resolve()


def _whole(name: str, default: int, *, low: int, high: int) -> int:
    """A whole number between low and high."""
    value = env.str(name, default=str(default))
    if not value.lstrip("-").isdigit() or not low <= int(value) <= high:
        raise ImproperlyConfigured(f"{name} must be a whole number from {low} to {high}, not {value!r}.")
    return int(value)


def _word(name: str, default: str = "", *, pattern: str = r"[A-Za-z0-9][\w.-]{0,62}", such_as: str) -> str:
    """Nothing, or a word of the pattern: what goes into a job script must be able to mean one thing only."""
    value = env.str(name, default=default)
    if value and not re.fullmatch(pattern, value, re.ASCII):
        raise ImproperlyConfigured(f"{name} must be such as {such_as}, not {value!r}.")
    return value


def _one_of(name: str, default: str, choices: tuple[str, ...]) -> str:
    value = env.str(name, default=default)
    if value not in choices:
        raise ImproperlyConfigured(f"{name} must be one of {', '.join(choices)}, not {value!r}.")
    return value


def _needed(launcher: str, **given: str) -> None:
    """What a launcher cannot do without."""
    for name, value in given.items():
        if launcher == ENGINE_LAUNCHER and not value:
            raise ImproperlyConfigured(f"Set {name}: ENGINE_LAUNCHER={launcher} needs it (docs/launchers.md).")


def _secret(name: str, file: str) -> str:
    """The variable, else the file that the embedded stack keeps in DATA_DIR, else a sentence."""
    if value := env.str(name, default=""):
        return value
    path = DATA_DIR / file
    if path.is_file():
        return path.read_text().strip()
    if env.bool("DEBUG", default=False) or not DATABASE_CONFIGURED:
        return "not-for-production-" + file  # commands that need no database (grade, check) run without any set-up
    raise ImproperlyConfigured(f"Set {name}, or keep it in {path} (`make up` writes that file).")


DATABASE_CONFIGURED = bool(env.str("DATABASE_URL", default=""))
DEBUG = env.bool("DEBUG", default=False)
SECRET_KEY = _secret("SECRET_KEY", "secret_key")
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["127.0.0.1", "localhost", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
WEB_PORT = _whole("WEB_PORT", 8000, low=1, high=65535)
BEHIND_TLS = env.bool("BEHIND_TLS", default=False)

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_celery_beat",
    "axes",
    "csp",
    "tasks",
    "trainer",
    "flywheel.openai_compat.moving",
    "flywheel.pages",
]

MIDDLEWARE = [
    "flywheel.http.head.without_body",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "flywheel.http.errors.RefusalMiddleware",
    "axes.middleware.AxesMiddleware",
]

ROOT_URLCONF = "flywheel.urls"
WSGI_APPLICATION = "flywheel.wsgi.application"
ASGI_APPLICATION = "flywheel.asgi.application"
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
            ]
        },
    }
]

# One engine everywhere. `manage.py grade` and the pure tests never open it.
DATABASES = {
    "default": {
        **env.db_url("DATABASE_URL", default="postgres://postgres@/flywheel?host=/nonexistent"),
        "ENGINE": "django.db.backends.postgresql",
        "OPTIONS": {"pool": {"min_size": 1, "max_size": 8, "timeout": 20}},
        "CONN_HEALTH_CHECKS": True,
        "TEST": {"NAME": env.str("TEST_DATABASE_NAME", default="test_flywheel")},
    }
}
_query_host = env.db_url("DATABASE_URL", default="postgres://postgres@/flywheel").get("OPTIONS", {}).get("host")
if _query_host:
    DATABASES["default"]["HOST"] = _query_host
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_USER_MODEL = "tasks.User"
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "login"
AXES_FAILURE_LIMIT = 8
AXES_COOLOFF_TIME = 0.25  # hours
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_VERBOSE = False

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_I18N = False
USE_TZ = True

STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "flywheel" / "static"]
STATIC_ROOT = DATA_DIR / "static"
WHITENOISE_USE_FINDERS = True
MEDIA_ROOT = DATA_DIR / "files"  # never served: uploads are private
DATA_UPLOAD_MAX_MEMORY_SIZE = 10 * 2**20
FILE_UPLOAD_HANDLERS = ["django.core.files.uploadhandler.TemporaryFileUploadHandler"]

SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = BEHIND_TLS
CSRF_COOKIE_SECURE = BEHIND_TLS
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_SSL_REDIRECT = BEHIND_TLS
SECURE_HSTS_SECONDS = 31_536_000 if BEHIND_TLS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = BEHIND_TLS
SECURE_HSTS_PRELOAD = BEHIND_TLS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if BEHIND_TLS else None
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "base-uri": ["'none'"],
        "frame-ancestors": ["'none'"],
        "form-action": ["'self'"],
        "object-src": ["'none'"],
    }
}

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "flywheel.http.auth.ApiKeyAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["flywheel.http.auth.SignedInWithScope"],
    "DEFAULT_RENDERER_CLASSES": ["flywheel.http.json_bodies.Renderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_PAGINATION_CLASS": "flywheel.http.pagination.NewestFirst",
    "PAGE_SIZE": 50,
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "flywheel.http.errors.problem_json",
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Flywheel",
    "DESCRIPTION": "Verifiable tasks in, better models out. Every verb of the portal, for programs.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_NAME_OVERRIDES": {
        "UploadStateEnum": "flywheel.api.schema.UPLOAD_STATES",
        "TaskStateEnum": "flywheel.api.schema.TASK_STATES",
        "ProofStateEnum": "flywheel.api.schema.PROOF_STATES",
        "RunStateEnum": "flywheel.api.schema.RUN_STATES",
        "EvaluationStateEnum": "flywheel.api.schema.EVALUATION_STATES",
        "DeliveryStateEnum": "flywheel.api.schema.DELIVERY_STATES",
        "WebhookStateEnum": "flywheel.api.schema.HOOK_STATES",
        "NewsEnum": "flywheel.api.schema.NEWS",
        "SentEnum": "flywheel.api.schema.SENT",
    },
}

# Celery messages are wake-ups: lost or repeated ones change nothing (ARCHITECTURE.md, "The state column is the queue").
CELERY_BROKER_URL = env.str("REDIS_URL", default="redis://127.0.0.1:6379/0")
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_TASK_ROUTES = {  # consumed where the accelerator is
    "trainer.jobs.supervise": {"queue": "engines"},
    "trainer.jobs.prune": {"queue": "engines"},
}
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": 3600,
    "unacked_restore_interval": 1,
    "unacked_restore_throttle": 1,
    "socket_connect_timeout": 2,
    "max_retries": 1,
}
CELERY_TASK_PUBLISH_RETRY = False  # a broker that is down must not hold up a request; the sweep catches up
CELERY_TIMEZONE = "UTC"
CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"
CELERY_BEAT_MAX_LOOP_INTERVAL = 1
CELERY_BEAT_SCHEDULE = {
    "data-side-sweep": {"task": "tasks.jobs.sweep", "schedule": 5.0, "options": {"expires": 10}},
    "engine-supervision": {"task": "trainer.jobs.supervise", "schedule": 1.0, "options": {"expires": 3}},
    "schedules": {"task": "trainer.jobs.fire_schedules", "schedule": 15.0, "options": {"expires": 30}},
    "news": {"task": "trainer.jobs.deliver", "schedule": 5.0, "options": {"expires": 10}},
    "evals": {"task": "trainer.jobs.sweep_evals", "schedule": 5.0, "options": {"expires": 10}},
    "domains": {"task": "trainer.jobs.count_domains", "schedule": 60.0, "options": {"expires": 60}},
    "event-sealer": {"task": "tasks.jobs.seal_events", "schedule": 10.0, "options": {"expires": 20}},
    "prune-data-side": {
        "task": "tasks.jobs.prune",
        "schedule": crontab(hour=3, minute=17),
        "options": {"expires": 3600},
    },
    "prune-model-side": {
        "task": "trainer.jobs.prune",
        "schedule": crontab(hour=4, minute=17),
        "options": {"expires": 3600},
    },
}

# Webhooks and e-mail (docs/webhooks.md). Without SMTP_HOST no mail is sent, and the page says so.
PORTAL_URL = _word(
    "PORTAL_URL",
    f"http://127.0.0.1:{WEB_PORT}",
    pattern=r"https?://[\w.:/\[\]-]{1,250}",
    such_as="https://flywheel.example",
).rstrip("/")
WEBHOOK_ORIGINS = env.list("WEBHOOK_ORIGINS", default=[])  # may be private and plain http
for _origin in WEBHOOK_ORIGINS:
    if not re.fullmatch(r"https?://[\w.:\[\]-]{1,250}", _origin, re.ASCII):
        raise ImproperlyConfigured(f"WEBHOOK_ORIGINS must list such as http://chat.internal:8065, not {_origin!r}.")
WEBHOOK_OFF_DAYS = _whole("WEBHOOK_OFF_DAYS", 5, low=0, high=365)  # of failing in a row; 0: never switched off
EMAIL_HOST = _word("SMTP_HOST", pattern=r"[\w.:\[\]-]{1,250}", such_as="mail.example")
EMAIL_PORT = _whole("SMTP_PORT", 587, low=1, high=65535)
EMAIL_HOST_USER = env.str("SMTP_USER", default="")
EMAIL_HOST_PASSWORD = env.str("SMTP_PASSWORD", default="")
SMTP_SECURITY = _one_of("SMTP_SECURITY", "starttls", ("starttls", "tls", "none"))
EMAIL_USE_TLS, EMAIL_USE_SSL = SMTP_SECURITY == "starttls", SMTP_SECURITY == "tls"
EMAIL_TIMEOUT = 10  # seconds, of each step
DEFAULT_FROM_EMAIL = _word(
    "MAIL_FROM", "flywheel@localhost", pattern=r"[\w.+-]{1,64}@[\w.-]{1,250}", such_as="flywheel@example.com"
)

# The model server and the engine.
MODEL_SERVER_URL = env.str("MODEL_SERVER_URL", default="http://127.0.0.1:8001")
MODEL_SERVER_TOKEN = _secret("MODEL_SERVER_TOKEN", "model_server_token")
# What the server at that address calls a version. Ours goes by digests, vLLM by its --served-model-name, which is the
# path that it was given where it was given no name. One fixed name for all versions would answer for the wrong ones.
MODEL_SERVER_MODEL = _word(
    "MODEL_SERVER_MODEL",
    "{digest}",
    pattern=r"[^{}]*\{(digest|path|name)\}[^{}]*",
    such_as="{digest}, {path} or {name}",
)
# Longer than the embedded server gives a request (MODEL_SERVER_MAX_SECONDS), so that its own words are heard.
MODEL_ANSWER_SECONDS = _whole("MODEL_ANSWER_SECONDS", 150, low=1, high=3600)
ENGINE_COMMAND = env.str("ENGINE_COMMAND", default="")  # "" : this interpreter with -m trainer.engine
ENGINE_SLOTS = _whole("ENGINE_SLOTS", 1, low=1, high=64)  # engine processes at a time
ENGINE_THREADS = _whole("ENGINE_THREADS", 0, low=0, high=1024)  # of one engine; 0: all cores
ENGINE_LEASE_SECONDS = _whole("ENGINE_LEASE_SECONDS", 60, low=5, high=3600)
ENGINE_ATTEMPTS = _whole("ENGINE_ATTEMPTS", 5, low=1, high=100)

# Where engines run (docs/launchers.md); 0 and "" leave it to the scheduler.
ENGINE_LAUNCHER = _one_of("ENGINE_LAUNCHER", "local", ("local", "slurm", "skypilot", "kubernetes"))
ENGINE_POLL_SECONDS = _whole("ENGINE_POLL_SECONDS", 15, low=1, high=600)  # between two questions about one job
ENGINE_GPUS = _whole("ENGINE_GPUS", 0, low=0, high=64)  # of one engine, on one machine; processes of one
ENGINE_VLLM_SERVER = _word("ENGINE_VLLM_SERVER", pattern=r"https?://[\w.:/\[\]-]{1,250}", such_as="http://gpu-1:8000")
ENGINE_GPU_TYPE = _word("ENGINE_GPU_TYPE", such_as="H100")
ENGINE_CPUS = _whole("ENGINE_CPUS", 0, low=0, high=1024)
ENGINE_MEMORY_GB = _whole("ENGINE_MEMORY_GB", 0, low=0, high=65_536)
ENGINE_TIME_LIMIT_MINUTES = _whole("ENGINE_TIME_LIMIT_MINUTES", 0, low=0, high=525_600)
ENGINE_IMAGE = _word("ENGINE_IMAGE", pattern=r"[A-Za-z0-9][\w./:@-]{0,254}", such_as="registry.example/flywheel:1.0")
ENGINE_SLURM_PARTITION = _word("ENGINE_SLURM_PARTITION", pattern=r"\w[\w.,-]{0,254}", such_as="gpu or gpu,spare")
ENGINE_SLURM_ACCOUNT = _word("ENGINE_SLURM_ACCOUNT", such_as="research")
ENGINE_SLURM_QOS = _word("ENGINE_SLURM_QOS", such_as="normal")
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"  # RFC 1123, as Kubernetes wants names
_SUBDOMAIN = r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?"
ENGINE_KUBERNETES_NAMESPACE = _word("ENGINE_KUBERNETES_NAMESPACE", "default", pattern=_LABEL, such_as="training")
ENGINE_KUBERNETES_CONTEXT = _word(
    "ENGINE_KUBERNETES_CONTEXT", pattern=r"[A-Za-z0-9][\w.@:/-]{0,252}", such_as="admin@cluster"
)
ENGINE_KUBERNETES_CLAIM = _word("ENGINE_KUBERNETES_CLAIM", pattern=_SUBDOMAIN, such_as="flywheel-data")
ENGINE_KUBERNETES_USER = _whole("ENGINE_KUBERNETES_USER", 10001, low=1, high=2**31 - 1)  # of the image; never root
ENGINE_KUBERNETES_GPU = _word(
    "ENGINE_KUBERNETES_GPU", "nvidia.com/gpu", pattern=r"[a-z0-9.-]+/[A-Za-z0-9._-]+", such_as="nvidia.com/gpu"
)
ENGINE_SKYPILOT_INFRA = _word(
    "ENGINE_SKYPILOT_INFRA", pattern=r"[a-z0-9][\w./@:*-]{0,252}", such_as="aws/us-east-1 or k8s/my-context"
)
ENGINE_SKYPILOT_STORAGE = _word(
    "ENGINE_SKYPILOT_STORAGE",
    pattern=r"[a-z0-9][a-z0-9-]{0,62}|(s3|gs|r2|cos|oci|nebius|https)://[\w./-]+",
    such_as="flywheel-data (a volume) or s3://bucket/flywheel",
)
ENGINE_SKYPILOT_SPOT = env.bool("ENGINE_SKYPILOT_SPOT", default=False)
_needed("kubernetes", ENGINE_IMAGE=ENGINE_IMAGE, ENGINE_KUBERNETES_CLAIM=ENGINE_KUBERNETES_CLAIM)
_needed("skypilot", ENGINE_IMAGE=ENGINE_IMAGE, ENGINE_SKYPILOT_STORAGE=ENGINE_SKYPILOT_STORAGE)
if ENGINE_LAUNCHER == "skypilot" and ENGINE_GPUS:
    _needed("skypilot", ENGINE_GPU_TYPE=ENGINE_GPU_TYPE)
IMPORT_LEASE_SECONDS = _whole("IMPORT_LEASE_SECONDS", 15, low=2, high=3600)
IMPORT_ATTEMPTS = 3
IMPORT_CHUNK_ROWS = _whole("IMPORT_CHUNK_ROWS", 10_000, low=1, high=100_000)
IMPORT_HELPERS = _whole("IMPORT_HELPERS", 2, low=0, high=64)  # processes that prepare an import's chunks ahead
IMPORT_ALONE_BYTES = _whole("IMPORT_ALONE_BYTES", 2_000_000, low=0, high=2**50)  # a rest that needs no helpers
FILE_MAX_BYTES = _whole("FILE_MAX_BYTES", 512 * 2**20, low=1, high=2**50)  # of one at once on the OpenAI surface
UPLOAD_MAX_BYTES = _whole("UPLOAD_MAX_BYTES", 8 * 2**30, low=1, high=2**50)
# Files of one `manage.py ingest` together: above it they are de-duplicated by joins over Parquet; 0: never.
DEDUP_AT_SCALE_BYTES = _whole("DEDUP_AT_SCALE_BYTES", 20 * 10**9, low=0, high=2**60)

# What `manage.py prune` and its daily job let go: days since its end or its last use; 0 keeps it for ever.
PRUNE_FILES_DAYS = _whole("PRUNE_FILES_DAYS", 90, low=0, high=36_500)
PRUNE_ISSUES_DAYS = _whole("PRUNE_ISSUES_DAYS", 90, low=0, high=36_500)
PRUNE_ISSUES_KEPT = _whole("PRUNE_ISSUES_KEPT", 1000, low=0, high=10**9)  # rows of each code; 0: none stays
PRUNE_FINDINGS_DAYS = _whole("PRUNE_FINDINGS_DAYS", 180, low=0, high=36_500)
PRUNE_SAMPLES_DAYS = _whole("PRUNE_SAMPLES_DAYS", 90, low=0, high=36_500)
PRUNE_LOGINS_DAYS = _whole("PRUNE_LOGINS_DAYS", 90, low=0, high=36_500)
PRUNE_LOGS_DAYS = _whole("PRUNE_LOGS_DAYS", 30, low=0, high=36_500)
PRUNE_CACHE_DAYS = _whole("PRUNE_CACHE_DAYS", 30, low=0, high=36_500)
PRUNE_ROLLOUTS_DAYS = _whole("PRUNE_ROLLOUTS_DAYS", 90, low=0, high=36_500)
PRUNE_CHECKPOINTS_DAYS = _whole("PRUNE_CHECKPOINTS_DAYS", 14, low=0, high=36_500)
PRUNE_RUNS_DAYS = _whole("PRUNE_RUNS_DAYS", 365, low=0, high=36_500)
PRUNE_EVALUATIONS_DAYS = _whole("PRUNE_EVALUATIONS_DAYS", 365, low=0, high=36_500)
PRUNE_DELIVERIES_DAYS = _whole("PRUNE_DELIVERIES_DAYS", 90, low=0, high=36_500)
PRUNE_FIRINGS_DAYS = _whole("PRUNE_FIRINGS_DAYS", 365, low=0, high=36_500)
UPLOAD_RESUME_HOURS = _whole("UPLOAD_RESUME_HOURS", 72, low=1, high=8760)  # since the last piece of a resumable upload

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": env.str("LOG_LEVEL", default="INFO")},
    # Wake-ups come several a second: Celery speaks of those that went wrong.
    "loggers": {
        name: {"level": "WARNING"} for name in ("httpx", "celery.beat", "celery.worker.strategy", "celery.app.trace")
    },
}
