"""Every address of the product."""

from django.contrib import admin
from django.urls import include, path

handler400 = "flywheel.http.errors.bad_request"
handler500 = "flywheel.http.errors.server_error"

urlpatterns = [
    path("", include("flywheel.pages.urls")),
    path("", include("tasks.urls")),
    path("", include("trainer.urls")),
    path("api/v1/", include("flywheel.api.urls")),
    path("openai/v1/", include("flywheel.openai_compat.urls")),
    path("admin/", admin.site.urls),
]
