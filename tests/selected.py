"""Which modules, and directories of them, the options of :mod:`tests.selection` select."""

from __future__ import annotations

from pathlib import Path

# A test module that imports one of these needs an extra. Of the package only names that the import
# contract in pyproject.toml allows to import an optional dependency belong here, so that a wrong
# import in any other module fails the environment `bare`.
EXTRAS = frozenset({
    "celery",
    "channels",
    "cryptography",
    "debug_toolbar",
    "django_redis",
    "instance_lookup.contrib.celery",
    "instance_lookup.contrib.openfeature",
    "instance_lookup.contrib.opentelemetry",
    "instance_lookup.contrib.prometheus",
    "health_check",
    "httpx",
    "instance_lookup.permissions.composition",
    "instance_lookup.cache.encryption",
    "instance_lookup.contrib.health_check",
    "instance_lookup.contrib.debug_toolbar",
    "instance_lookup.permissions",
    "instance_lookup.throttling.drf",
    "openapi_core",
    "openapi_schema_validator",
    "openfeature",
    "opentelemetry",
    "playwright",
    "prometheus_client",
    "redis",
    "rest_framework",
    "rest_framework_simplejwt",
    "rich",
    "tests.behaviour.drf",
    "tests.behaviour.leaks.pages",
    "tests.properties.drf_urls",
    "tests.support.celery_site",
    "tests.support.celery_worker",
    "tests.support.task_queue",
    "tests.support.task_site",
    "tests.typing",
    "trustme",
    "valkey",
})  # fmt: skip

TESTS = Path(__file__).parent

# What another version of Python or Django could break: modules, and directories of them. A
# test that takes each kind of cache, sync and async, takes each kind once, every other one async.
COMPAT = frozenset({
    TESTS / "behaviour" / "commands" / "test_invalidate_instance_cache.py",
    TESTS / "behaviour" / "commands" / "test_warm_instance_cache.py",
    TESTS / "behaviour" / "drf" / "test_authentication.py",
    TESTS / "behaviour" / "drf" / "test_exception_handler.py",
    TESTS / "behaviour" / "drf" / "test_permissions.py",
    TESTS / "races" / "test_races_each_act.py",
    TESTS / "behaviour" / "asgi" / "test_scopes.py",
    TESTS / "behaviour" / "cache" / "test_cache_contract.py",
    TESTS / "behaviour" / "contrib" / "test_django_tasks.py",
    TESTS / "behaviour" / "django" / "test_decorators.py",
    TESTS / "behaviour" / "django" / "test_lookup.py",
    TESTS / "behaviour" / "django" / "test_middleware.py",
    TESTS / "behaviour" / "jobs" / "test_carried.py",
    TESTS / "behaviour" / "push" / "test_webhook.py",
    TESTS / "behaviour" / "throttling" / "test_drf.py",
    TESTS / "behaviour" / "throttling" / "test_views.py",
})  # fmt: skip

# What an older version of a dependency could break: the same, and what leans on one, such as the
# insides of urllib3 and asgiref, or an extra.
OLDEST = COMPAT | frozenset({
    TESTS / "behaviour" / "asgi",
    TESTS / "behaviour" / "cache" / "test_documents.py",
    TESTS / "behaviour" / "cache" / "test_redis_client.py",
    TESTS / "behaviour" / "contrib",
    TESTS / "behaviour" / "django" / "test_checks.py",
    TESTS / "behaviour" / "django" / "test_debug_toolbar.py",
    TESTS / "behaviour" / "drf",
    TESTS / "behaviour" / "http",
    TESTS / "behaviour" / "jobs",
    TESTS / "behaviour" / "operations" / "test_callers.py",
    TESTS / "behaviour" / "status" / "test_health_check.py",
    TESTS / "behaviour" / "who" / "test_users_jwt.py",
    TESTS / "units" / "test_codec.py",
    TESTS / "units" / "test_threads.py",
    TESTS / "units" / "test_types.py",
})  # fmt: skip

# What takes long and reaches no branch that the others do not reach: modules, and directories of
# them. Tracing makes tests take half as long again, so these are run without it; the environment
# `coverage` says whether the others, and those of `bare`, still reach every branch.
UNTRACED = frozenset({
    TESTS / "behaviour" / "cache" / "test_cache_contract.py",
    TESTS / "behaviour" / "cache" / "test_documents.py",
    TESTS / "behaviour" / "cache" / "test_documents_served.py",
    TESTS / "behaviour" / "cache" / "test_entry_rejects.py",
    TESTS / "behaviour" / "cache" / "test_generations.py",
    TESTS / "behaviour" / "cache" / "test_generations_stored.py",
    TESTS / "behaviour" / "cache" / "test_sealed.py",
    TESTS / "behaviour" / "commands" / "test_output.py",
    TESTS / "behaviour" / "commands" / "test_warm_instance_cache.py",
    TESTS / "behaviour" / "django" / "test_live_servers.py",
    TESTS / "behaviour" / "django" / "test_watched.py",
    TESTS / "behaviour" / "drf" / "test_concealment.py",
    TESTS / "behaviour" / "drf" / "test_schemas.py",
    TESTS / "behaviour" / "http" / "test_http_connections.py",
    TESTS / "behaviour" / "http" / "test_http_forks.py",
    TESTS / "behaviour" / "leaks",
    TESTS / "behaviour" / "push" / "test_live_webhook.py",
    TESTS / "behaviour" / "who" / "test_concealment.py",
    TESTS / "docs",
    TESTS / "outages",
    TESTS / "properties",
    TESTS / "races",
    TESTS / "sandbox",
    TESTS / "units" / "test_audit.py",
    TESTS / "units" / "test_benchmarks.py",
    TESTS / "units" / "test_capacity.py",
    TESTS / "units" / "test_packaging.py",
    TESTS / "units" / "test_stream_parser.py",
})  # fmt: skip

# From so many cases on `--quick` runs one of three, but for modules, and directories of them, whose
# cases are cheap and each the only one of its kind, or reach a branch that no other case does.
MANY_CASES = 6
EVERY_CASE = frozenset({
    TESTS / "behaviour" / "asgi" / "test_scopes.py",
    TESTS / "behaviour" / "commands" / "test_block_instance.py",
    TESTS / "behaviour" / "contrib" / "test_openfeature.py",
    TESTS / "behaviour" / "django" / "test_checks.py",
    TESTS / "behaviour" / "django" / "test_debug_toolbar.py",
    TESTS / "behaviour" / "django" / "test_error_pages.py",
    TESTS / "behaviour" / "fetching" / "test_keys_in_errors.py",
    TESTS / "behaviour" / "http" / "test_access_tokens.py",
    TESTS / "behaviour" / "http" / "test_file.py",
    TESTS / "behaviour" / "operations" / "doctor",
    TESTS / "behaviour" / "operations" / "test_calls.py",
    TESTS / "behaviour" / "status",
    TESTS / "behaviour" / "throttling" / "test_views.py",
    TESTS / "behaviour" / "who" / "test_users.py",
    TESTS / "behaviour" / "who" / "test_verdicts.py",
    TESTS / "docs",
    TESTS / "units",
})  # fmt: skip

# What needs packages that few sites have: their tests are run with `--integrations`, and no others.
INTEGRATIONS = frozenset({TESTS / "integrations"})

# The sandbox is a site built with DRF; it and its tests are of one piece.
EXTRA_DIRECTORIES = frozenset({TESTS / "sandbox"})
