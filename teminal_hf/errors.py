"""Errors that a user can mend; each message says what was found, what was expected and what to do.

    TeminalError                 all of them; the commands print the message alone
    ├── ConfigError              a flag, a key of a YAML file or an argument that makes no sense
    ├── DataError                clips, folds, columns, captions or manifests that cannot be used
    │   └── BadClipError         one clip that cannot be used
    ├── CheckpointError          no CLAP, a fused one, or one that is not whole
    ├── DivergedError            a training whose loss or weights are no longer finite
    ├── NotFoundError            a file, folder or run that is not there
    ├── TakenError               a folder or port that holds something else already
    ├── StorageError             a disk that is full or cannot be written
    ├── OfflineError             what is not on this machine while the Hub may not be asked
    ├── PushError                a push that failed; all is still on disk
    └── MissingExtraError        an optional dependency that is not installed

`Stopped`, a KeyboardInterrupt, is what SIGTERM becomes in a command. Anything else that is raised is a fault of this
package or of a library: a bug to report, with its traceback.
"""


class TeminalError(Exception):
    """What a user can mend."""


class ConfigError(TeminalError, ValueError):
    """A flag, a key of a YAML file or an argument makes no sense, alone or beside another."""


class DataError(TeminalError, ValueError):
    """Clips, folds, columns, captions or manifests cannot be used."""


class BadClipError(DataError):
    """A clip that cannot be used; the message says why."""


class CheckpointError(TeminalError, ValueError):
    """A checkpoint is no CLAP, is fused, or is not whole."""


class DivergedError(TeminalError, ArithmeticError):
    """A training's loss or weights are no longer finite; nothing of them is saved."""


class NotFoundError(TeminalError, FileNotFoundError):
    """A file, a folder or a run is not there."""


class TakenError(TeminalError, FileExistsError):
    """A folder or a port is in use for something else."""


class StorageError(TeminalError, OSError):
    """A disk is full or cannot be written."""


class OfflineError(TeminalError, OSError):
    """Something is not on this machine, and the Hub may not be asked."""


class PushError(TeminalError, OSError):
    """A push that failed; everything is still on disk, and the message says how to try again."""


class MissingExtraError(TeminalError, ImportError):
    """An optional dependency is not installed; the message names the extra that brings it."""


class Stopped(KeyboardInterrupt):
    """The process was asked to end, by SIGTERM."""
