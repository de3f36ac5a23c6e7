"""What we do: Faust apps, Redis tables, settings and the command line. Alone knows Kafka, Redis, time and the environment."""
