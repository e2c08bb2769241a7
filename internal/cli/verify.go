package cli

import (
	"context"
	"errors"
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
ends with exit code 4; neither it nor what cannot be read at all keeps the rest
from being checked. Where POINT names VMs, the newest point that holds one of
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
			if err != nil && result.Points == 0 && len(result.Damage) == 0 {
				return err
			}
			// Hours of reading are not thrown away because the end was not
			// reached.
			err = errors.Join(e.print("verify", viewVerify(result), func(w io.Writer) { drawVerify(w, result, err) }), err)
			if n := len(result.Damage); n > 0 {
				return errors.Join(fmt.Errorf("verify: %w: in %s", repository.ErrDamaged, wording.Count(n, "place")), err)
			}
			return err
		}),
	}
	cmd.Flags().Float64Var(&part, "percent", 100, "check this `percent` of the blocks, chosen by chance")
	return cmd
}

// verifyView is what a verification found, in JSON.
type verifyView struct {
	Points int          `json:"points"`
	Disks  int          `json:"disks"`
	Bytes  int64        `json:"bytes"` // of disk data, read back and compared
	Data   int64        `json:"data"`  // of disk data that there are
	Damage []damageView `json:"damage"`
}

type damageView struct {
	Org      string `json:"org,omitempty"` // where all of its points are meant
	Point    string `json:"point,omitempty"`
	VM       string `json:"vm,omitempty"`
	Disk     string `json:"disk,omitempty"`
	Document string `json:"document,omitempty"`
	Offset   int64  `json:"offset"` // bytes, within the disk
	Error    string `json:"error"`
}

func viewVerify(r app.VerifyResult) verifyView {
	v := verifyView{Points: r.Points, Disks: r.Disks, Bytes: r.Bytes, Data: r.Data, Damage: []damageView{}}
	for _, d := range r.Damage {
		v.Damage = append(v.Damage, damageView{
			Org: d.Org, Point: d.Point, VM: d.VM, Disk: d.Disk, Document: d.Document, Offset: d.Offset, Error: d.Err.Error(),
		})
	}
	return v
}

func drawVerify(w io.Writer, r app.VerifyResult, err error) {
	for _, d := range r.Damage {
		fmt.Fprintln(w, clean(damageText(d)))
	}
	read := wording.Size(r.Bytes)
	if r.Bytes < r.Data {
		read += " of " + wording.Size(r.Data)
	}
	fmt.Fprintf(w, "verified %s, %s, %s: %s\n",
		wording.Count(r.Points, "restore point"), wording.Count(r.Disks, "disk"), read, verdict(len(r.Damage), err))
}

func damageText(d repository.Damage) string {
	switch {
	case d.Point == "":
		return fmt.Sprintf("org %s: %v", d.Org, d.Err)
	case d.Document != "":
		return fmt.Sprintf("restore point %s: document %s: %v", d.Point, d.Document, d.Err)
	case d.VM == "":
		return fmt.Sprintf("restore point %s: %v", d.Point, d.Err)
	}
	return fmt.Sprintf("restore point %s: vm %s: disk %s: offset %d: %v", d.Point, d.VM, d.Disk, d.Offset, d.Err)
}

func verdict(damage int, err error) string {
	text := "no damage"
	if damage > 0 {
		text = "damage in " + wording.Count(damage, "place")
	}
	if err != nil {
		text += "; not everything could be checked"
	}
	return text
}
