package plan

import (
	"context"

	"github.com/vappvault/vappvault/internal/restorepoint"
)

// mode is the way back that the options choose.
func (o Options) mode() string {
	switch {
	case o.ConfigOnly:
		return ModeConfig
	case o.ToVSphere != "":
		return ModeVSphere
	case len(o.Disks) > 0:
		return ModeDisks
	case len(o.VMs) > 0:
		return ModeVMs
	case o.Overwrite:
		return ModeOverwrite
	case o.As != "":
		return ModeCopy
	}
	return ModeMissing
}

// InPlace tells whether the restore works on the vApp that is there.
func (p *Plan) InPlace() bool {
	switch p.Mode {
	case ModeOverwrite, ModeVMs, ModeDisks, ModeConfig:
		return true
	}
	return false
}

// Copies tells whether what is restored stands beside what it was, and so
// must not be taken for it: new MAC addresses, new UUIDs.
func (p *Plan) Copies() bool { return p.Mode == ModeCopy || p.Mode == ModeVSphere || p.Beside }

// Folder is where a restore to vSphere makes the VMs.
func (p *Plan) Folder() string { return p.options.ToVSphere }

// A planStep computes one part of a plan.
type planStep func(context.Context, *Deps, *Plan, *restorepoint.Point) error

// parts returns the steps by which a mode is planned.
func (p *Plan) parts(o Options) []planStep {
	switch p.Mode {
	case ModeVMs:
		return []planStep{planUsable, planPlace, planVApp, planNature, planSkew, planProfiles, planPolicies, planLiveNetworks, selectVMs(o), planNamed, planNICs, planHardware, planMedia, planQuota}
	case ModeDisks:
		return []planStep{planUsable, planPlace, planVApp, planNature, planProfiles, selectDisks(o)}
	case ModeVSphere:
		return []planStep{planUsable, planSkew, planVSphere(o)}
	case ModeConfig:
		return []planStep{planUsable, planPlace, planVApp, planNature, planProfiles, planPolicies, planConfig(o)}
	}
	return []planStep{
		planUsable, planPlace, planVApp, planNature, planSkew, planNetworks, planPeople, planProfiles, planPolicies, planVMs, planNamed, nameStandalone, planNames, planNICs, planLease,
		planHardware, planMedia, planQuota, planUnused,
	}
}
