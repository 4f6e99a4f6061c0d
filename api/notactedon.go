package api

// What whoever creates objects that have no effect here is told.
const (
	noCSI     = "this cluster has no CSI drivers: the object is kept and has no effect, and nodes refuse volumes of drivers"
	noDevices = "this cluster allocates no devices: the object is kept and has no effect, and pods that ask for devices stay Pending"
)
