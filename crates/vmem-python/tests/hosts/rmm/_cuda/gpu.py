_current = 0


def getDevice():
    return _current


def setDevice(device):
    global _current
    _current = device
