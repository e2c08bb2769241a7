package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/config"
	"github.com/vappvault/vappvault/internal/reconcile"
	"github.com/vappvault/vappvault/internal/wording"
)

func (e *env) reconcileCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "reconcile",
		Short: "Settle what runs that died have left behind",
		Long: `Takes back what runs that died have left in the cloud: maintenance mode,
snapshots, disabled relocation, half-made VMs. It goes by the journal, and by
the marks in the cloud where the journal is lost. Every backup and restore
does the same for its vApp first. A site that does not answer does not keep it
from the others: the exit code is then 3.`,
		Example: `  vappvault reconcile
  vappvault reconcile -o json | jq '.settled[] | select(.error)'`,
		Args: arguments(0, 0, ""),
		RunE: e.run(func(cmd *cobra.Command, _ []string) error {
			var settled []reconcile.Settled
			err := e.withApp(cmd.Context(), func(ctx context.Context, a *app.App, _ *config.Config) (err error) {
				settled, err = a.Reconcile(ctx)
				return err
			})
			if err != nil && len(settled) == 0 && !errors.Is(err, app.ErrPartial) {
				return err
			}
			return errors.Join(err, e.print("settled", viewSettled(settled), func(w io.Writer) { drawSettled(w, settled) }), failed(settled, err))
		}),
	}
}

// failed makes an error of what could not be settled, unless there is one.
func failed(settled []reconcile.Settled, err error) error {
	n := 0
	for _, s := range settled {
		if s.Err != nil {
			n++
		}
	}
	if n == 0 || err != nil {
		return nil
	}
	return fmt.Errorf("reconcile: %s could not be settled", wording.Count(n, "change"))
}

// settledView is one change that was, or was to be, settled, in JSON.
type settledView struct {
	VApp   string `json:"vapp"`           // URN
	Path   string `json:"path,omitempty"` // ORG/VDC/VAPP, where vCD shows the vApp
	Kind   string `json:"kind"`
	Object string `json:"object"`         // URN, moref or name
	Name   string `json:"name,omitempty"` // of the VM, where it is about one
	Action string `json:"action"`
	Error  string `json:"error,omitempty"`
}

func viewSettled(settled []reconcile.Settled) []settledView {
	views := make([]settledView, 0, len(settled))
	for _, s := range settled {
		v := settledView{VApp: s.VApp, Path: s.Path, Kind: s.Kind, Object: s.Object, Name: s.Name, Action: s.Action}
		if s.Err != nil {
			v.Error = s.Err.Error()
		}
		views = append(views, v)
	}
	return views
}

func drawSettled(w io.Writer, settled []reconcile.Settled) {
	if len(settled) == 0 {
		fmt.Fprintln(w, "nothing to settle")
		return
	}
	row(w, "VAPP", "KIND", "OBJECT", "ACTION", "ERROR")
	for _, s := range viewSettled(settled) {
		vapp, object := cmp.Or(s.Path, s.VApp), cmp.Or(s.Name, s.Object)
		if object == s.VApp {
			object = vapp
		}
		row(w, vapp, s.Kind, object, s.Action, s.Error)
	}
}
