"""Finding where a network can be cut, and running what lies between two cuts."""
