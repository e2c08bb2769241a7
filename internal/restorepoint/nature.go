package restorepoint

import (
	"regexp"
	"strings"
)

// A Nature says what a vApp is to those who use it.
type Nature string

// The natures of vApps. vCD calls the last two isAutoNature alike.
const (
	NatureVApp Nature = "vapp"
	// NatureStandalone is the shell that vCD keeps around a standalone VM and
	// shows nobody.
	NatureStandalone Nature = "standalone"
	// NatureDiscovered is the shell around a VM that vCD found in vCenter and
	// that nobody has adopted by changing it.
	NatureDiscovered Nature = "discovered"
)

// Kind is the nature of the point's vApp. Points of older versions knew no
// more than that vCD had made the vApp itself; that was mostly for a
// standalone VM.
func (p *Point) Kind() Nature { return kind(p.Nature, p.AutoNature) }

// Kind is that of the point.
func (s Summary) Kind() Nature { return kind(s.Nature, s.AutoNature) }

func kind(known Nature, auto bool) Nature {
	switch {
	case known != "":
		return known
	case auto:
		return NatureStandalone
	}
	return NatureVApp
}

// shellName is what vCD calls the shell of a standalone VM: the VM's name and
// a UUID.
var shellName = regexp.MustCompile(`-[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// GuessNature tells the nature by what a list of vApps has: isAutoNature, name
// and owner. A discovered vApp is the system's until somebody is given it
// ("Discovering and Adopting vApps", Administrator's Guide), and so may be a
// standalone VM that an administrator made, which its name tells. Who knows
// the VM's configuration in vSphere asks NatureByMarks.
func GuessNature(auto bool, name, owner string) Nature {
	switch {
	case !auto:
		return NatureVApp
	case strings.EqualFold(owner, "system") && !shellName.MatchString(name):
		return NatureDiscovered
	}
	return NatureStandalone
}

// NatureByMarks tells the nature by whether the VM bears the marks that vCD
// gives its own in vCenter (managedBy, cloud.uuid): one that it only
// discovered has none until it is adopted.
func NatureByMarks(auto, marked bool) Nature {
	switch {
	case !auto:
		return NatureVApp
	case marked:
		return NatureStandalone
	}
	return NatureDiscovered
}
