package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/config"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/restore"
	"github.com/vappvault/vappvault/internal/selection"
	"github.com/vappvault/vappvault/internal/wording"
)

// An outcome is what became of one of many vApps, for JSON.
type outcome struct {
	VApp    string          `json:"vapp"`
	Point   string          `json:"point"`
	Outcome string          `json:"outcome"`
	Error   string          `json:"error,omitempty"`
	Seconds float64         `json:"seconds,omitempty"`
	Plan    *plan.Plan      `json:"plan,omitempty"`
	Result  *restore.Result `json:"result,omitempty"`
}

// checkMany refuses what means one vApp where many are meant.
func checkMany(refs []string, req app.RestoreRequest) error {
	for _, ref := range refs {
		if _, err := selection.ParsePoints(ref); err != nil {
			return &usageError{err}
		}
	}
	switch {
	case req.As != "" || req.Overrides.Name != "":
		return usagef("--as and --name are for one vApp; to restore many elsewhere use --org or --vdc")
	case len(req.VMs) > 0 || len(req.Disks) > 0 || req.Beside:
		return usagef("--vm and --disk are for one vApp")
	}
	one := req
	one.Point = "vapp@latest"
	return checkRestore(one)
}

// restoreMany prints a table of what became of each vApp, or with a dry run
// all plans.
func (e *env) restoreMany(ctx context.Context, refs []string, req app.RestoreRequest, ids *idFiles) error {
	if err := checkMany(refs, req); err != nil {
		return err
	}
	var all []app.RestoreOutcome
	err := e.withApp(ctx, func(ctx context.Context, a *app.App, _ *config.Config) (err error) {
		if !req.DryRun {
			req.Planned = e.showPlan
		}
		all, err = a.RestoreMany(ctx, refs, req)
		return err
	})
	if len(all) == 0 {
		return err
	}
	out := make([]outcome, len(all))
	for i, o := range all {
		out[i] = outcome{VApp: o.VApp, Point: o.Point, Outcome: outcomeOf(o, req.DryRun), Seconds: o.Duration.Seconds()}
		if o.Err != nil {
			out[i].Error = o.Err.Error()
		}
		switch {
		case o.Result == nil:
		case req.DryRun || o.Result.VAppID == "":
			out[i].Plan = o.Result.Plan
		default:
			out[i].Result = o.Result
		}
	}
	if !req.DryRun {
		var results []*restore.Result
		for _, o := range all {
			results = append(results, o.Result)
		}
		err = errors.Join(err, ids.write(results...))
	}
	kind := "restores"
	if req.DryRun {
		kind = "plans"
	}
	if perr := e.print(kind, out, func(w io.Writer) { drawMany(w, all, req.DryRun) }); err == nil {
		err = perr
	}
	return err
}

func outcomeOf(o app.RestoreOutcome, dry bool) string {
	switch {
	case errors.Is(o.Err, app.ErrPartial):
		return "partial"
	case errors.Is(o.Err, plan.ErrConflict):
		return "refused"
	case o.Err != nil:
		return "failed"
	case dry:
		return "planned"
	}
	return "restored"
}

func drawMany(w io.Writer, all []app.RestoreOutcome, dry bool) {
	if dry {
		for _, o := range all {
			if o.Result != nil {
				drawPlan(w, o.Result.Plan)
			}
		}
	}
	row(w, "VAPP", "RESTORE POINT", "OUTCOME", "VMS", "WRITTEN", "TOOK")
	for _, o := range all {
		vms, bytes := 0, int64(0)
		if o.Result != nil {
			vms = len(o.Result.VMs)
			for _, vm := range o.Result.VMs {
				bytes += vm.Bytes
			}
			if dry && o.Result.Plan != nil {
				vms = len(o.Result.Plan.VMs)
				for _, vm := range o.Result.Plan.VMs {
					bytes += vm.Bytes
				}
			}
		}
		row(w, o.VApp, o.Point, outcomeOf(o, dry), fmt.Sprint(vms), wording.Size(bytes), o.Duration.Round(time.Second).String())
	}
	flush(w)
	if dry {
		return
	}
	for _, o := range all {
		if o.Result == nil {
			continue
		}
		for _, warning := range o.Result.Warnings {
			fmt.Fprintf(w, "note: %s\n", clean(o.VApp+": "+warning))
		}
		for _, d := range o.Result.Unexplained() {
			fmt.Fprintf(w, "  %s\n", clean(fmt.Sprintf("%s: %s: %s: was %q, is %q", o.VApp, d.Document, d.Field, d.Want, d.Got)))
		}
	}
}
