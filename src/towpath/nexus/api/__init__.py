"""Routes of the Auth API that are neither OAuth nor for developers."""
