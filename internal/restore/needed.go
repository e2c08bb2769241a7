package restore

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/vappvault/vappvault/internal/journal"
	"github.com/vappvault/vappvault/internal/mark"
	"github.com/vappvault/vappvault/internal/restorepoint"
)

// A Need is a restore point without which an overwrite can neither go on nor
// be undone.
type Need struct {
	Point     string
	Run       string
	Org       restorepoint.Ref // with no name where the journal has none
	VDC, VApp restorepoint.Ref
	// Ended: the run has, and Point is what it is undone with. Else it was
	// interrupted, or still runs.
	Ended bool
}

// Needed lists the restore points that the overwrites in the journal need,
// oldest first. Without the one that a run was writing into disks, and the one
// of what they were before, a vApp with half written disks has no way on.
func Needed(ctx context.Context, j *journal.Journal) ([]Need, error) {
	intents, err := j.OpenIntents(ctx, journal.Filter{})
	if err != nil {
		return nil, err
	}
	var out []Need
	for _, i := range intents {
		points := []string{i.Detail["safety"]}
		switch i.Kind {
		case mark.Overwrite:
			points = append(points, i.Detail["point"])
		case mark.Blocks:
			var w written
			if err := json.Unmarshal([]byte(i.Detail["blocks"]), &w); err != nil {
				return nil, fmt.Errorf("run %s: blocks of the intent: %w", i.Run, err)
			}
			points = append(points, w.Point)
		case mark.Safety:
		default:
			continue
		}
		for _, point := range points {
			known := slices.ContainsFunc(out, func(n Need) bool { return n.Point == point && n.Run == i.Run })
			if point == "" || known {
				continue
			}
			out = append(out, Need{
				Point: point, Run: i.Run, Ended: i.Kind == mark.Safety,
				Org: restorepoint.Ref{ID: i.Detail["orgId"], Name: i.Detail["org"]}, VDC: restorepoint.Ref{ID: i.Detail["vdcId"], Name: i.Detail["vdc"]},
				VApp: restorepoint.Ref{ID: i.VApp, Name: i.Detail[mark.Name]},
			})
		}
	}
	return out, nil
}
