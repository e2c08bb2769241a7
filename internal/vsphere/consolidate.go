package vsphere

import "context"

// Consolidate merges the disks that a removed snapshot left behind, if there
// are any. ErrConsolidation says that they still wait. A VM that is gone has
// none.
func (v *VM) Consolidate(ctx context.Context) error { return v.consolidate(ctx) }
