package vcenter

import (
	"slices"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// What a VM can have at most (VMware Configuration Maximums, vSphere 8).
const (
	MaxCPUs   = maxCPUs
	MaxMemory = maxMemoryMB << 20 // bytes
	MaxDisk   = 62 << 40          // bytes
)

// KnownGuest tells whether vSphere has a guest of that id.
func KnownGuest(id string) bool {
	return slices.Contains(simulator.GuestID, types.VirtualMachineGuestOsIdentifier(id))
}
