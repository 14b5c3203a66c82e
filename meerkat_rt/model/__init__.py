"""The vocabulary: frozen values, their validation, and their JSON forms.  Imports attrs and cattrs only."""
