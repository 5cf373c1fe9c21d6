"""How data channels between here and a server are protected."""

from dataclasses import dataclass

from towpath.gridftp.data.protection import Protection
from towpath.gridftp.security.dcsc import DataCredential


@dataclass(frozen=True)
class DataSecurity:
    """Without a credential: not at all (DCAU N)."""

    credential: DataCredential | None = None
    protection: Protection = Protection.CLEAR

    def commands(self) -> list[str]:
        """What the server must be told before PASV or PORT. Contains the key: never log it."""
        if self.credential is None:
            return ["DCAU N"]
        return [
            f"DCSC P {self.credential.blob}",
            "DCAU A",
            "PBSZ 1048576",
            f"PROT {self.protection.value}",
        ]
