"""The line to the cloud: MQTT as a thin pipe, and the one HTTPS conversation by which a device becomes the cloud's."""
