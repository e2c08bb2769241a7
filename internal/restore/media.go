package restore

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/vappvault/vappvault/internal/document"
	"github.com/vappvault/vappvault/internal/plan"
)

// insertMedia puts the media of the plan into the drives of VMs that were
// made. A drive that stays empty costs nobody a restore: it is said.
func (r *run) insertMedia(ctx context.Context) error {
	for _, res := range r.result.VMs {
		for _, vp := range r.plan.VMs {
			if vp.VM == nil || vp.VM.ID != res.OldID || vp.Action != plan.Rebuild {
				continue
			}
			for _, m := range vp.Media {
				if err := r.VCD.InsertMedia(ctx, r.VCD.Href(res.NewID), m.Href); err != nil {
					if ctx.Err() != nil {
						return err
					}
					r.warn(res.Name, fmt.Sprintf("medium %s is not inserted: %v", m.Name, err))
				}
			}
		}
	}
	return nil
}

// emptyDrive tells of a field that it is of a drive which had a medium and
// holds none, as the plan has it.
func (r *run) emptyDrive(d *document.Difference) bool {
	if !strings.HasSuffix(d.Field, "/AutomaticAllocation") && !strings.HasSuffix(d.Field, "/ResourceSubType") {
		return false
	}
	for _, vp := range r.plan.VMs {
		if vp.VM == nil || !strings.HasPrefix(d.Document, vmPath(vp.VM.ID, "")) {
			continue
		}
		gone := func(c plan.Conflict) bool { return c.Kind == plan.KindMedia && c.Object == "vm "+vp.Name }
		return len(vp.Media) == 0 && strings.HasPrefix(d.Want, "vmware.cdrom.") == strings.HasSuffix(d.Field, "/ResourceSubType") &&
			slices.ContainsFunc(r.plan.Conflicts, gone)
	}
	return false
}
