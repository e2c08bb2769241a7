package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/config"
	"github.com/vappvault/vappvault/internal/repository"
	"github.com/vappvault/vappvault/internal/wording"
)

func (e *env) verifyCommand() *cobra.Command {
	var part float64
	cmd := &cobra.Command{
		Use:   "verify [POINT…]",
		Short: "Read restore points back and check every byte",
		Long: `Reads restore points back from the repository, all of them or those named, and
checks documents and disks against the hashes recorded at backup time. Damage
ends with exit code 4. Where POINT names VMs, the newest point that holds one of
them is read, and no disks but theirs.`,
		Example: `  vappvault verify
  vappvault verify web-shop@latest
  vappvault verify acme/vdc1/web-shop/db01@latest
  vappvault verify --percent 5`,
		ValidArgsFunction: e.completePoints,
		RunE: e.run(func(cmd *cobra.Command, args []string) error {
			if err := checkVMPoints(args); err != nil {
				return err
			}
			if !(part > 0 && part <= 100) {
				return usagef("--percent %v: want more than 0, up to 100", part)
			}
			var result app.VerifyResult
			err := e.withApp(cmd.Context(), func(ctx context.Context, a *app.App, _ *config.Config) (err error) {
				result, err = a.Verify(ctx, args, part)
				return err
			})
			if err != nil {
				return err
			}
			if err := e.print("verify", viewVerify(result), func(w io.Writer) { drawVerify(w, result) }); err != nil {
				return err
			}
			if n := len(result.Damage); n > 0 {
				return fmt.Errorf("verify: %w: in %s", repository.ErrDamaged, wording.Count(n, "place"))
			}
			return nil
		}),
	}
	cmd.Flags().Float64Var(&part, "percent", 100, "check this `percent` of the blocks, chosen by chance")
	return cmd
}

// verifyView is what a verification found, in JSON.
type verifyView struct {
	Points int          `json:"points"`
	Disks  int          `json:"disks"`
	Bytes  int64        `json:"bytes"` // read back and checked
	Damage []damageView `json:"damage"`
}

type damageView struct {
	Point    string `json:"point"`
	VM       string `json:"vm,omitempty"`
	Disk     string `json:"disk,omitempty"`
	Document string `json:"document,omitempty"`
	Offset   int64  `json:"offset"` // bytes, within the disk
	Error    string `json:"error"`
}

func viewVerify(r app.VerifyResult) verifyView {
	v := verifyView{Points: r.Points, Disks: r.Disks, Bytes: r.Bytes, Damage: []damageView{}}
	for _, d := range r.Damage {
		v.Damage = append(v.Damage, damageView{
			Point: d.Point, VM: d.VM, Disk: d.Disk, Document: d.Document, Offset: d.Offset, Error: d.Err.Error(),
		})
	}
	return v
}

func drawVerify(w io.Writer, r app.VerifyResult) {
	for _, d := range r.Damage {
		thing := "document " + d.Document
		if d.Document == "" {
			thing = fmt.Sprintf("vm %s: disk %s: offset %d", d.VM, d.Disk, d.Offset)
		}
		fmt.Fprintf(w, "%s\n", clean(fmt.Sprintf("restore point %s: %s: %v", d.Point, thing, d.Err)))
	}
	fmt.Fprintf(w, "verified %s, %s, %s: %s\n",
		wording.Count(r.Points, "restore point"), wording.Count(r.Disks, "disk"), wording.Size(r.Bytes), verdict(len(r.Damage)))
}

func verdict(damage int) string {
	if damage == 0 {
		return "no damage"
	}
	return "damage in " + wording.Count(damage, "place")
}
