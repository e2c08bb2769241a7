package plan

// The kinds of conflicts.
const (
	KindVAppGone       = "vapp-gone"
	KindVDCGone        = "vdc-gone"
	KindBusy           = "busy"
	KindRenamed        = "renamed"
	KindVAppExists     = "vapp-exists"
	KindNameTaken      = "name-taken"
	KindNetworkMissing = "network-missing"
	KindOwnerGone      = "owner-gone"
	KindQuota          = "quota"
	KindNotInPoint     = "not-in-point"
	KindExcluded       = "excluded" // a VM or disk that nobody asked to back up
	KindStorageProfile = "storage-profile"
	KindVMGone         = "vm-gone"
	KindSnapshots      = "snapshots"
	KindSuspended      = "suspended"
	KindDiskGone       = "disk-gone"
	KindDiskResized    = "disk-resized"
	KindDiskOther      = "disk-replaced"
	KindDiskMoved      = "disk-moved"
	KindController     = "controller"
	KindHardware       = "hardware"
	KindNamedDisk      = "named-disk"
	KindLinkedClone    = "linked-clone"
	KindAdded          = "added-since"
	KindDatastore      = "datastore"
	KindRuns           = "runs"
	KindNature         = "nature"
	KindOtherPoint     = "other-point"
)
