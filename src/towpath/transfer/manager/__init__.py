"""The GCS Manager API of endpoints with agents: `https://HOST/gcs/<endpoint id>/api`."""
