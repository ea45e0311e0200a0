"""What people look at.

Others use: ``contact_sheet``, the picture of one clip per class.

May import ``core``, ``media``, ``store`` and ``datasets``.
"""

__all__ = ["contact_sheet"]
