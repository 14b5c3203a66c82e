"""The vocabulary: frozen values, their validation, their JSON forms.  Needs attrs and cattrs."""
