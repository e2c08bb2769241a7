package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/config"
	"github.com/vappvault/vappvault/internal/wording"
)

func (e *env) doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Check that everything is there that backups and restores need",
		Long: `Looks at the configuration, the repository, the state folder, every vCD and
vCenter with the rights of its account and its clock, and at nbdkit and VDDK with
the ways to a disk that this machine could use: for nbd and nbdssl every host is
asked at its port 902. One line each: ok, warn for what
works without but worse, fail for what does not, and what to do about it.
Nothing in the cloud is changed. Something that fails ends with exit code 1.`,
		Example: `  vappvault doctor
  vappvault doctor -o json | jq '.checks[] | select(.status != "ok")'`,
		Args: arguments(0, 0, ""),
		RunE: e.run(func(cmd *cobra.Command, _ []string) error {
			var checks []app.Check
			err := e.withApp(cmd.Context(), func(ctx context.Context, a *app.App, _ *config.Config) error {
				checks = a.Doctor(ctx)
				return nil
			})
			if err != nil && checks == nil {
				checks = []app.Check{{Name: "configuration", Status: app.CheckFail, Detail: err.Error(), Advice: "correct the file; README.md shows one"}}
			}
			if err := e.print("checks", checks, func(w io.Writer) { drawChecks(w, checks) }); err != nil {
				return err
			}
			if ctx := cmd.Context(); ctx.Err() != nil {
				return ctx.Err()
			}
			failed := 0
			for _, c := range checks {
				if c.Status == app.CheckFail {
					failed++
				}
			}
			if failed > 0 {
				return fmt.Errorf("doctor: %s of %d failed", wording.Count(failed, "check"), len(checks))
			}
			return err
		}),
	}
}

func drawChecks(w io.Writer, checks []app.Check) {
	row(w, "STATUS", "CHECK", "FOUND", "WHAT TO DO")
	for _, c := range checks {
		row(w, c.Status, c.Name, c.Detail, c.Advice)
	}
}
