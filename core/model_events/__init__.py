"""Model events: promotions and rollbacks of an application's model, as messages that scorers fold into one pointer."""
