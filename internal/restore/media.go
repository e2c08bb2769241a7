package restore

import (
	"context"
	"fmt"

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
