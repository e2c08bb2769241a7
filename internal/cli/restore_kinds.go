package cli

import (
	"slices"

	"github.com/spf13/pflag"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/selection"
)

// kindFlags are the flags that say what of a vApp is restored, and to where.
func kindFlags(flags *pflag.FlagSet, req *app.RestoreRequest) {
	flags.StringArrayVar(&req.VMs, "vm", nil, "restore only this VM into the vApp that is there, by its `name` in the restore point; may be given again")
	flags.BoolVar(&req.Beside, "beside", false, "with --vm: as a further VM, beside the one that is there")
}

// checkKinds refuses flags that do not go together, and a reference that is
// none.
func checkKinds(req app.RestoreRequest) error {
	point, vm, err := selection.SplitVM(req.Point)
	if err != nil {
		return &usageError{err}
	}
	if err := checkPoints([]string{point}); err != nil {
		return err
	}
	single := vm != "" || len(req.VMs) > 0
	switch {
	case slices.Contains(req.VMs, ""):
		return usagef("--vm wants a name")
	case req.Beside && !single:
		return usagef("--beside goes with --vm")
	case single && req.As != "":
		return usagef("--vm and --as exclude each other: to bring a VM back beside the present one use --beside")
	case single && req.Overwrite:
		return usagef("--vm and --overwrite exclude each other: a VM that is there is overwritten anyway")
	case req.KeepOld && req.Beside:
		return usagef("--keep-old and --beside exclude each other: beside a VM nothing is replaced")
	}
	return nil
}
