"""How events get to the service without hurting who reports them: off the step's path, bounded, spooled, repeated."""
