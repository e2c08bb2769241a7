package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/config"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/selection"
)

// kindFlags are the flags that say what of a vApp is restored, and to where.
func kindFlags(flags *pflag.FlagSet, req *app.RestoreRequest) {
	flags.StringArrayVar(&req.VMs, "vm", nil, "restore only this VM into the vApp that is there, by its `name` in the restore point; may be given again")
	flags.BoolVar(&req.Beside, "beside", false, "with --vm: as a further VM, beside the one that is there")
	flags.StringArrayVar(&req.Disks, "disk", nil, "restore only this `VM:DISK`, in place of the present one; DISK is a label, a device key or BUS:UNIT; may be given again")
	flags.StringVar(&req.AttachTo, "attach-to", "", "with --disk: as a further disk of this `VM` of the vApp")
	flags.StringVar(&req.ToVSphere, "to-vsphere", "", "make the VMs, or those of --vm, in this `folder` of vSphere, unknown to vCD, switched off and disconnected")
	flags.BoolVar(&req.EmptyDisks, "empty-disks", false, "make named disks that are gone anew, empty: no restore point has their content")
	flags.IntVar(&req.Parallel, "parallel", 0, "restore this `many` of several vApps at once (default from the configuration, else 2)")
	flags.BoolVar(&req.Best, "best", false, "take VMs that the restore point lacks from the newest earlier one that has them")
	flags.Var(&sectionsValue{req}, "config-only", "restore documents only, no disks: all, or these `sections`, "+strings.Join(plan.Sections, ","))
	flags.Lookup("config-only").NoOptDefVal = allSections
}

// allSections is what --config-only without a list stands for.
const allSections = "all"

// sectionsValue is the value of --config-only.
type sectionsValue struct{ req *app.RestoreRequest }

func (v *sectionsValue) String() string {
	if v.req == nil || !v.req.ConfigOnly {
		return ""
	}
	return strings.Join(v.req.Sections, ",")
}

func (v *sectionsValue) Type() string { return "sections" }

// Set takes a list of sections; it may be given again.
func (v *sectionsValue) Set(list string) error {
	v.req.ConfigOnly = true
	if list == allSections {
		return nil
	}
	for s := range strings.SplitSeq(list, ",") {
		if !slices.Contains(plan.Sections, s) {
			return fmt.Errorf("no section %q: want %s, or some of %s", s, allSections, strings.Join(plan.Sections, ","))
		}
		v.req.Sections = append(v.req.Sections, s)
	}
	return nil
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
	for _, disk := range req.Disks {
		if _, err := selection.ParseDisk(disk); err != nil {
			return &usageError{err}
		}
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
	case req.ToVSphere != "" && (req.As != "" || req.Overwrite || req.ConfigOnly || req.Beside || len(req.Disks) > 0):
		return usagef("--to-vsphere goes without --as, --overwrite, --config-only, --beside and --disk: vCD is left alone")
	case req.ToVSphere != "" && req.Power != "" && req.Power != plan.PowerOff:
		return usagef("--to-vsphere and --power exclude each other: the VMs stay off, their NICs are on no network yet")
	case req.AttachTo != "" && len(req.Disks) == 0:
		return usagef("--attach-to goes with --disk")
	case len(req.Disks) > 0 && (single || req.As != "" || req.Overwrite || req.ConfigOnly):
		return usagef("--disk goes without --vm, --as, --overwrite and --config-only")
	case req.AttachTo != "" && (req.KeepOld || req.Power != "" && req.Power != plan.PowerOff):
		return usagef("--attach-to goes without --keep-old and --power: nothing is replaced, and what ran runs on")
	case req.ConfigOnly && (single || req.As != "" || req.Overwrite || req.KeepOld):
		return usagef("--config-only goes without --vm, --as, --overwrite and --keep-old: it restores no disks")
	case req.ConfigOnly && req.Power != "" && req.Power != plan.PowerOff:
		return usagef("--config-only and --power exclude each other: what ran runs on")
	case req.Parallel < 0 || req.Parallel > config.MaxVApps:
		return usagef("--parallel %d: want 1 to %d", req.Parallel, config.MaxVApps)
	case req.KeepOld && req.Beside:
		return usagef("--keep-old and --beside exclude each other: beside a VM nothing is replaced")
	}
	return nil
}
