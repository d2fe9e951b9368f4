"""The service's two parts, QueryEncoder and HeadSearch, and a backend made of them. Knows no Ray."""
