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
	"github.com/vappvault/vappvault/internal/wording"
)

func (e *env) maintainCommand() *cobra.Command {
	var immediate bool
	cmd := &cobra.Command{
		Use:   "maintain",
		Short: "Give back space that no restore point needs",
		Long: `Collects garbage in the repository: what only forgotten restore points, or runs
that died, had stored. Backups may run meanwhile.

For their sake garbage is left until it is 24 hours old and two runs, at least
four hours apart, have found it: run once a night, maintain gives back what was
forgotten a night or two before. With --immediate it all goes at once. That needs
the repository for itself: an organization that a backup is writing to is left,
with exit code 5, and a restore or verify that reads what goes may fail.`,
		Example: `  vappvault maintain
  vappvault forget web-shop@2026-11-01T00:00 && vappvault maintain --immediate`,
		Args: arguments(0, 0, ""),
		RunE: e.run(func(cmd *cobra.Command, _ []string) error {
			var done []app.Maintained
			err := e.withApp(cmd.Context(), func(ctx context.Context, a *app.App, _ *config.Config) (err error) {
				done, err = a.Maintain(ctx, immediate)
				return err
			})
			if err == nil || len(done) > 0 {
				fields := map[string]any{"maintained": err == nil, "orgs": viewMaintained(done)}
				err = errors.Join(err, e.printFields(fields, func(w io.Writer) { drawMaintained(w, done, immediate) }))
			}
			return err
		}),
	}
	cmd.Flags().BoolVar(&immediate, "immediate", false, "give back at once what is else left for a day or two; not beside backups")
	return cmd
}

// maintainedView is what became of one organization's part, in JSON.
type maintainedView struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Before int64  `json:"before"` // bytes that it took
	After  int64  `json:"after"`  // bytes that it takes now
}

func viewMaintained(done []app.Maintained) []maintainedView {
	views := make([]maintainedView, 0, len(done))
	for _, m := range done {
		views = append(views, maintainedView(m))
	}
	return views
}

func drawMaintained(w io.Writer, done []app.Maintained, immediate bool) {
	row(w, "ORG", "BEFORE", "NOW", "FREED")
	var freed int64
	for _, m := range done {
		less := max(0, m.Before-m.After) // a backup may have added more
		freed += less
		row(w, cmp.Or(m.Name, m.ID), wording.Size(m.Before), wording.Size(m.After), wording.Size(less))
	}
	flush(w)
	fmt.Fprintf(w, "repository maintained, %s freed\n", wording.Size(freed))
	if !immediate {
		fmt.Fprintln(w, "what was forgotten within the last day or two is left for later runs, or for --immediate")
	}
}
