"""How people prove who they are, and how often somebody tried to."""

from django.conf import settings
from django.db import models


class SecondFactor(models.Model):
    """The secret that a person's authenticator makes codes of. It is kept sealed."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="second_factor")
    sealed = models.CharField(max_length=255, blank=True, default="", help_text="Empty: not in use yet.")
    sealed_next = models.CharField(max_length=255, blank=True, default="", help_text="Shown, and not confirmed yet.")
    last_step = models.PositiveBigIntegerField(default=0, help_text="Of the newest code that was used.")
    since = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"of {self.user}"


class RecoveryCode(models.Model):
    """A code that stands in for the authenticator once. Only a keyed hash of it is kept."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="recovery_codes")
    digest = models.CharField(max_length=64, unique=True)

    def __str__(self) -> str:
        return f"of {self.user}"


class SignInAttempts(models.Model):
    """How often somebody tried to sign in as one account, or from one address, and did not."""

    subject = models.CharField(max_length=64, unique=True, help_text="A keyed hash: nobody reads names out of it.")
    count = models.PositiveIntegerField(default=0)
    paused_until = models.DateTimeField()
    at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return f"{self.count} until {self.at:%Y-%m-%d %H:%M}"
