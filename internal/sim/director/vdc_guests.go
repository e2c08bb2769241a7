package director

import (
	"slices"
	"strings"
)

// A guestOS is a guest system that a VM can be made for: vSphere's id of it, its
// name, and the hardware version from which on vSphere offers it.
type guestOS struct {
	id, name string
	since    int
}

func (g guestOS) x64() bool { return strings.Contains(g.id, "64") }

// efi tells whether a guest starts from EFI: those of 64 bits do, but for the
// oldest.
func (g guestOS) efi() bool {
	return g.x64() && !slices.ContainsFunc([]string{"winNet", "winXP", "centos64", "oracleLinux64", "rhel5", "sles10", "debian5", "other24x", "solaris10"},
		func(old string) bool { return strings.HasPrefix(g.id, old) })
}

// firmware is what a guest can start from, the recommended one first (Windows
// 11 does not start from a BIOS).
func (g guestOS) firmware() []string {
	switch {
	case g.id == "windows11_64Guest" || strings.HasPrefix(g.id, "darwin"):
		return []string{"efi"}
	case !g.efi():
		return []string{"bios"}
	case g.since >= 18:
		return []string{"efi", "bios"}
	}
	return []string{"bios", "efi"}
}

// guestFamilies are guest systems as the hardware document lists them
// (VirtualMachineGuestOsIdentifier of the vSphere Web Services API).
var guestFamilies = []struct {
	name   string
	id     int
	guests []guestOS
}{
	{"Microsoft Windows", 1, []guestOS{
		{"win2000ServGuest", "Microsoft Windows 2000 Server", 0},
		{"winNetStandardGuest", "Microsoft Windows Server 2003 Standard (32-bit)", 0},
		{"winNetStandard64Guest", "Microsoft Windows Server 2003 Standard (64-bit)", 0},
		{"winNetEnterpriseGuest", "Microsoft Windows Server 2003 (32-bit)", 0},
		{"winNetEnterprise64Guest", "Microsoft Windows Server 2003 (64-bit)", 0},
		{"winLonghornGuest", "Microsoft Windows Server 2008 (32-bit)", 0},
		{"winLonghorn64Guest", "Microsoft Windows Server 2008 (64-bit)", 0},
		{"windows7Server64Guest", "Microsoft Windows Server 2008 R2 (64-bit)", 0},
		{"windows8Server64Guest", "Microsoft Windows Server 2012 (64-bit)", 8},
		{"windows9Server64Guest", "Microsoft Windows Server 2016 (64-bit)", 10},
		{"windows2019srv_64Guest", "Microsoft Windows Server 2019 (64-bit)", 14},
		{"windows2019srvNext_64Guest", "Microsoft Windows Server 2022 (64-bit)", 18},
		{"windows2022srvNext_64Guest", "Microsoft Windows Server 2025 (64-bit)", 20},
		{"winXPProGuest", "Microsoft Windows XP Professional (32-bit)", 0},
		{"winXPPro64Guest", "Microsoft Windows XP Professional (64-bit)", 0},
		{"winVistaGuest", "Microsoft Windows Vista (32-bit)", 0},
		{"winVista64Guest", "Microsoft Windows Vista (64-bit)", 0},
		{"windows7Guest", "Microsoft Windows 7 (32-bit)", 0},
		{"windows7_64Guest", "Microsoft Windows 7 (64-bit)", 0},
		{"windows8Guest", "Microsoft Windows 8.x (32-bit)", 8},
		{"windows8_64Guest", "Microsoft Windows 8.x (64-bit)", 8},
		{"windows9Guest", "Microsoft Windows 10 (32-bit)", 10},
		{"windows9_64Guest", "Microsoft Windows 10 (64-bit)", 10},
		{"windows11_64Guest", "Microsoft Windows 11 (64-bit)", 18},
	}},
	{"Linux", 2, []guestOS{
		{"almalinux_64Guest", "AlmaLinux (64-bit)", 18},
		{"amazonlinux2_64Guest", "Amazon Linux 2 (64-bit)", 15},
		{"amazonlinux3_64Guest", "Amazon Linux 3 (64-bit)", 18},
		{"asianux4Guest", "Asianux 4 (32-bit)", 0},
		{"asianux4_64Guest", "Asianux 4 (64-bit)", 0},
		{"asianux7_64Guest", "Asianux 7 (64-bit)", 13},
		{"centosGuest", "CentOS 4/5 (32-bit)", 0},
		{"centos64Guest", "CentOS 4/5 (64-bit)", 0},
		{"centos6Guest", "CentOS 6 (32-bit)", 13},
		{"centos6_64Guest", "CentOS 6 (64-bit)", 13},
		{"centos7_64Guest", "CentOS 7 (64-bit)", 13},
		{"centos8_64Guest", "CentOS 8 (64-bit)", 15},
		{"centos9_64Guest", "CentOS 9 (64-bit)", 18},
		{"coreos64Guest", "CoreOS Linux (64-bit)", 11},
		{"crxPod1Guest", "VMware CRX Pod 1 (64-bit)", 16},
		{"crxSys1Guest", "VMware CRX System 1 (64-bit)", 18},
		{"debian5_64Guest", "Debian GNU/Linux 5 (64-bit)", 0},
		{"debian6Guest", "Debian GNU/Linux 6 (32-bit)", 0},
		{"debian6_64Guest", "Debian GNU/Linux 6 (64-bit)", 0},
		{"debian7Guest", "Debian GNU/Linux 7 (32-bit)", 10},
		{"debian7_64Guest", "Debian GNU/Linux 7 (64-bit)", 10},
		{"debian8Guest", "Debian GNU/Linux 8 (32-bit)", 10},
		{"debian8_64Guest", "Debian GNU/Linux 8 (64-bit)", 10},
		{"debian9Guest", "Debian GNU/Linux 9 (32-bit)", 11},
		{"debian9_64Guest", "Debian GNU/Linux 9 (64-bit)", 11},
		{"debian10Guest", "Debian GNU/Linux 10 (32-bit)", 14},
		{"debian10_64Guest", "Debian GNU/Linux 10 (64-bit)", 14},
		{"debian11Guest", "Debian GNU/Linux 11 (32-bit)", 18},
		{"debian11_64Guest", "Debian GNU/Linux 11 (64-bit)", 18},
		{"debian12Guest", "Debian GNU/Linux 12 (32-bit)", 20},
		{"debian12_64Guest", "Debian GNU/Linux 12 (64-bit)", 20},
		{"oracleLinuxGuest", "Oracle Linux 4/5 (32-bit)", 0},
		{"oracleLinux64Guest", "Oracle Linux 4/5 (64-bit)", 0},
		{"oracleLinux6_64Guest", "Oracle Linux 6 (64-bit)", 13},
		{"oracleLinux7_64Guest", "Oracle Linux 7 (64-bit)", 13},
		{"oracleLinux8_64Guest", "Oracle Linux 8 (64-bit)", 15},
		{"oracleLinux9_64Guest", "Oracle Linux 9 (64-bit)", 18},
		{"rhel5Guest", "Red Hat Enterprise Linux 5 (32-bit)", 0},
		{"rhel5_64Guest", "Red Hat Enterprise Linux 5 (64-bit)", 0},
		{"rhel6Guest", "Red Hat Enterprise Linux 6 (32-bit)", 0},
		{"rhel6_64Guest", "Red Hat Enterprise Linux 6 (64-bit)", 0},
		{"rhel7_64Guest", "Red Hat Enterprise Linux 7 (64-bit)", 10},
		{"rhel8_64Guest", "Red Hat Enterprise Linux 8 (64-bit)", 13},
		{"rhel9_64Guest", "Red Hat Enterprise Linux 9 (64-bit)", 18},
		{"rockylinux_64Guest", "Rocky Linux (64-bit)", 18},
		{"sles10Guest", "SUSE Linux Enterprise 10 (32-bit)", 0},
		{"sles10_64Guest", "SUSE Linux Enterprise 10 (64-bit)", 0},
		{"sles11Guest", "SUSE Linux Enterprise 11 (32-bit)", 0},
		{"sles11_64Guest", "SUSE Linux Enterprise 11 (64-bit)", 0},
		{"sles12_64Guest", "SUSE Linux Enterprise 12 (64-bit)", 8},
		{"sles15_64Guest", "SUSE Linux Enterprise 15 (64-bit)", 13},
		{"sles16_64Guest", "SUSE Linux Enterprise 16 (64-bit)", 16},
		{"ubuntuGuest", "Ubuntu Linux (32-bit)", 0},
		{"ubuntu64Guest", "Ubuntu Linux (64-bit)", 0},
		{"vmwarePhoton64Guest", "VMware Photon OS (64-bit)", 13},
		{"other24xLinuxGuest", "Other 2.4.x Linux (32-bit)", 0},
		{"other24xLinux64Guest", "Other 2.4.x Linux (64-bit)", 0},
		{"other26xLinuxGuest", "Other 2.6.x Linux (32-bit)", 0},
		{"other26xLinux64Guest", "Other 2.6.x Linux (64-bit)", 0},
		{"other3xLinuxGuest", "Other 3.x Linux (32-bit)", 9},
		{"other3xLinux64Guest", "Other 3.x Linux (64-bit)", 9},
		{"other4xLinuxGuest", "Other 4.x Linux (32-bit)", 14},
		{"other4xLinux64Guest", "Other 4.x Linux (64-bit)", 14},
		{"other5xLinuxGuest", "Other 5.x Linux (32-bit)", 18},
		{"other5xLinux64Guest", "Other 5.x Linux (64-bit)", 18},
		{"other6xLinux64Guest", "Other 6.x or later Linux (64-bit)", 20},
		{"otherLinuxGuest", "Other Linux (32-bit)", 0},
		{"otherLinux64Guest", "Other Linux (64-bit)", 0},
	}},
	{"Other", 3, []guestOS{
		{"otherGuest", "Other (32-bit)", 0},
		{"otherGuest64", "Other (64-bit)", 0},
		{"darwin18_64Guest", "Apple macOS 10.14 (64-bit)", 14},
		{"darwin19_64Guest", "Apple macOS 10.15 (64-bit)", 16},
		{"freebsdGuest", "FreeBSD Pre-11 versions (32-bit)", 0},
		{"freebsd64Guest", "FreeBSD Pre-11 versions (64-bit)", 0},
		{"freebsd11_64Guest", "FreeBSD 11 (64-bit)", 14},
		{"freebsd12_64Guest", "FreeBSD 12 (64-bit)", 14},
		{"freebsd13_64Guest", "FreeBSD 13 (64-bit)", 18},
		{"freebsd14_64Guest", "FreeBSD 14 or later versions (64-bit)", 20},
		{"solaris10_64Guest", "Oracle Solaris 10 (64-bit)", 0},
		{"solaris11_64Guest", "Oracle Solaris 11 (64-bit)", 8},
		{"vmkernel65Guest", "VMware ESXi 6.5", 13},
		{"vmkernel7Guest", "VMware ESXi 7.0", 17},
		{"vmkernel8Guest", "VMware ESXi 8.0 or later", 20},
	}},
}
