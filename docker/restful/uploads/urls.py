"""The addresses. The last slash may be left out: a redirect would turn a POST into a GET."""

from __future__ import annotations

from django.urls import re_path

from uploads import errors, views
from uploads.storage import ID_PATTERN

urlpatterns = [
    re_path(r"^upload/?\Z", views.Uploads.as_view(), name="uploads"),
    re_path(rf"^upload/({ID_PATTERN})/?\Z", views.OneUpload.as_view(), name="upload"),
    re_path(rf"^upload/({ID_PATTERN})/file/?\Z", views.File.as_view(), name="file"),
    re_path(r"^health/?\Z", views.Health.as_view(), name="health"),
]

handler400 = errors.bad_request
handler404 = errors.not_found
handler500 = errors.failed
