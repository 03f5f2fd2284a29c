"""Forms in the Django admin that are not in a transaction, whatever they are of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.decorators import method_decorator
from django.views.decorators.csrf import csrf_protect

from orchestrator.core.errors import OrchestratorError

if TYPE_CHECKING:
    AnyBase = admin.ModelAdmin[Any]
else:
    AnyBase = admin.ModelAdmin


class SentBack(AnyBase):
    """A page with a form that is checked and saved apart, so that what it is about may have changed in between."""

    sent_back_by: ClassVar[tuple[type[OrchestratorError], ...]] = (OrchestratorError,)  # of saving: said above the form

    @method_decorator(csrf_protect)
    def changeform_view(
        self, request: HttpRequest, object_id: Any = None, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """The form; what changed between its check and its saving sends back to it.

        Not in a transaction, as Django has it: the check may take seconds, and nobody could write anything meanwhile.
        What is saved is one.
        """
        view = self._changeform_view  # type: ignore[attr-defined]  # the stubs do not have it
        try:
            response: HttpResponse = view(request, object_id, form_url, extra_context)
        except self.sent_back_by as error:
            if request.method != "POST":  # it would come back here
                raise
            messages.error(request, str(error))
            return redirect(request.get_full_path())
        return response
