package api

// What whoever creates objects that have no effect here is told.
const (
	noCSI     = "this cluster has no CSI drivers: the object is kept and has no effect, and nodes refuse volumes of drivers"
	noFlows   = "requests are limited by user, whatever flow schemas say: the object is kept and has no effect"
	noDevices = "this cluster allocates no devices: the object is kept and has no effect, and pods that ask for devices stay Pending"
)
