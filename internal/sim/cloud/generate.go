package cloud

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
)

// A Generation says how large a made-up cloud is to be. The same one gives the
// same inventory.
type Generation struct {
	Orgs, VApps, VMs int // VMs counts the standalone ones too
	VCenters         int // 0: one for every 15,000 VMs
	Seed             uint64
	Disk             Size // of the smallest disk; others are multiples
	Fill             Size // content of every disk
}

// Generate writes an inventory of that size, with what large installations
// have: a few large organizations and many small ones, vApps of one VM and of
// many, VMs of their own, names that are long, have spaces or are not English,
// all kinds of networks, leases, metadata.
func Generate(w io.Writer, g Generation) error {
	if g.Orgs < 1 || g.VApps < 0 || g.VMs < g.VApps {
		return errors.New("want an org at least, and a VM for every vApp")
	}
	if g.Disk%512 != 0 || g.Disk <= 0 || g.Fill > g.Disk {
		return errors.New("want a disk size in sectors of 512 bytes, and no more content than that")
	}
	if g.VCenters == 0 {
		g.VCenters = (g.VMs + 14999) / 15000
	}
	g.VCenters = max(g.VCenters, 1)
	out := bufio.NewWriter(w)
	m := &maker{Generation: g, out: out, random: rand.New(rand.NewPCG(g.Seed, 0))} //nolint:gosec // to be predictable is the point
	m.site()
	return out.Flush()
}

// A maker writes one inventory.
type maker struct {
	Generation
	out    *bufio.Writer
	random *rand.Rand
	vapps  int // made so far
	vms    int
	alone  int // of the VMs
}

// line writes to the inventory; an error is the flush's.
func (m *maker) line(format string, args ...any) {
	_, _ = fmt.Fprintf(m.out, format+"\n", args...)
}

// chance is true in so many of a hundred cases.
func (m *maker) chance(percent int) bool { return m.random.IntN(100) < percent }

func pick[T any](m *maker, from ...T) T { return from[m.random.IntN(len(from))] }

func (m *maker) site() {
	m.line("# vcdsim inventory generate --orgs %d --vapps %d --vms %d --vcenters %d --seed %d --disk %dB --fill %dB",
		m.Orgs, m.VApps, m.VMs, m.VCenters, m.Seed, m.Disk, m.Fill)
	m.line("version: 1\nsites:\n- id: lab\n  admin: {name: administrator, password: vcdsim-admin}\n  vcenters:")
	for i := range m.VCenters {
		m.line("  - name: vc%d\n    hosts: 4\n    networks: [pg-a, pg-b, pg-c]\n    datastores:", i+1)
		for d := range 4 {
			m.line("    - {name: ds-%d%d, capacity: 512TiB}", i+1, d+1)
		}
	}
	m.line("  orgs:")
	vapps, alone := m.shares()
	for i := range m.Orgs {
		m.org(i, vapps[i], alone[i])
	}
}

// shares deals vApps and standalone VMs out: the n-th org gets in proportion
// to 1/n, as it is among customers.
func (m *maker) shares() (vapps, alone []int) {
	deal := func(total int) []int {
		weights, sum := make([]float64, m.Orgs), 0.0
		for i := range weights {
			weights[i] = 1 / float64(i+3)
			sum += weights[i]
		}
		out, left := make([]int, m.Orgs), total
		for i := range out {
			out[i] = min(int(float64(total)*weights[i]/sum), left)
			left -= out[i]
		}
		for i := 0; left > 0; i = (i + 1) % m.Orgs {
			out[i]++
			left--
		}
		return out
	}
	return deal(m.VApps), deal(m.standalone())
}

func (m *maker) org(n, vapps, alone int) {
	name := fmt.Sprintf("org-%03d", n+1)
	full := pick(m, "Anvils & Söhne", "Northern Rail", "Bäckerei Süß", "Ω Labs", "City of Łódź", "Acme") + fmt.Sprintf(" %d", n+1)
	m.line("  - name: %s\n    fullName: %q\n    lease: {deployment: %s, storage: %s}", name, full, pick(m, "7d", "30d", "never"), pick(m, "30d", "90d", "never"))
	m.line("    users:\n    - {name: admin, role: Organization Administrator, password: vcdsim-%s}", name)
	for i := range 1 + m.random.IntN(4) {
		m.line("    - {name: user%d, email: user%d@%s.example, role: %s}", i+1, i+1, name, pick(m, "vApp User", "vApp Author"))
	}
	m.line("    vdcs:")
	vdcs := 1
	if vapps > 20 {
		vdcs = 1 + min(vapps/300, 3)
	}
	for i := range vdcs {
		m.vdc(n, i, part(vapps, i, vdcs), part(alone, i, vdcs))
	}
}

// part is the share of the i-th of n.
func part(total, i, n int) int { return total*(i+1)/n - total*i/n }

func (m *maker) vdc(org, n, vapps, alone int) {
	vc := (org+n)%m.VCenters + 1
	subnet := 1 + (org*4+n)%250
	m.line("    - name: org-%03d-vdc%d\n      vcenter: vc%d\n      allocationModel: %s", org+1, n+1, vc, pick(m, "Flex", "AllocationVApp", "AllocationPool"))
	m.line("      storageProfiles:\n      - {name: gold, datastore: ds-%d1, limit: 100TiB}\n      - {name: silver, datastore: ds-%d%d, default: true}", vc, vc, 2+m.random.IntN(3))
	m.line("      networks:")
	m.line("      - {name: backbone, type: direct, portGroup: %s, external: internet, gateway: 10.%d.0.1, netmask: 255.255.0.0, dns: [10.%d.0.2], "+
		"ranges: [10.%d.0.10-10.%d.199.250]}", pick(m, "pg-a", "pg-b"), subnet, subnet, subnet, subnet)
	m.line("      - {name: edge, type: routed, edge: edge-%03d, gateway: 172.20.0.1, netmask: 255.255.0.0, ranges: [172.20.0.10-172.20.199.250]}", org+1)
	if vapps > 0 {
		m.line("      vapps:")
	}
	for range vapps {
		m.vapp(subnet)
	}
	if alone > 0 {
		m.line("      vms:")
	}
	for i := range alone {
		m.vms++
		m.alone++
		m.vm("      ", fmt.Sprintf("%s-%05d", pick(m, "jump", "proxy", "Drucker Büro"), i+1), []string{"backbone"}, subnet)
	}
}

// name is a vApp's: plain mostly, and some that programs trip over.
func (m *maker) name(n int) string {
	plain := fmt.Sprintf("%s-%05d", pick(m, "shop", "erp", "crm", "test", "ci", "db", "web"), n)
	switch {
	case n%97 == 0:
		return strings.Repeat("lang ", 23) + fmt.Sprintf("größer %06d", n) // 128 characters
	case n%31 == 0:
		return "Müller & Söhne " + plain
	case n%29 == 0:
		return "日本 " + plain
	case n%23 == 0:
		return plain + " (alt)/100% @home, \"x\" *"
	case n%7 == 0:
		return "Copy of " + plain
	}
	return plain
}

func (m *maker) vapp(subnet int) {
	m.vapps++
	n := m.vapps
	m.line("      - name: %q", m.name(n))
	if m.chance(40) {
		m.line("        description: %q", pick(m, "made for tests", "Abnahme Größe L\nbis Ende März", "<do not delete>"))
	}
	if m.chance(20) {
		m.line("        owner: user1")
	}
	if m.chance(30) {
		m.line("        lease: {deployment: %s, storage: %s}", pick(m, "1d", "7d", "never"), pick(m, "14d", "30d", "never"))
	}
	if m.chance(10) {
		m.line("        access: {users: [{user: user1, level: %s}]}", pick(m, "ReadOnly", "Change", "FullControl"))
	}
	nets := m.networks(n)
	m.metadata("        ", 50)
	m.line("        vms:")
	for i := range m.size() {
		m.vms++
		m.vm("        ", fmt.Sprintf("%s%02d", pick(m, "web", "db", "app", "node", "Büro "), i+1), nets, subnet)
	}
}

// size is how many VMs the next vApp has, so that it comes out even.
func (m *maker) size() int {
	left, vapps := m.VMs-m.standalone()-(m.vms-m.alone), m.VApps-m.vapps
	if vapps == 0 {
		return left
	}
	mean := float64(left) / float64(vapps+1)
	n := int(mean * pick(m, 0.4, 0.4, 0.7, 0.7, 1.0, 1.0, 1.0, 1.5, 3.0))
	return min(max(n, 1), left-vapps)
}

// standalone is how many VMs are in no vApp.
func (m *maker) standalone() int {
	if m.VApps == 0 {
		return m.VMs
	}
	return min(m.VMs/25, m.VMs-m.VApps)
}

// networks writes a vApp's and returns their names.
func (m *maker) networks(n int) []string {
	m.line("        networks:")
	switch {
	case n%10 < 6:
		m.line("        - {name: backbone, type: direct, parent: backbone}")
		return []string{"backbone"}
	case n%10 < 8:
		m.line("        - {name: lan, type: isolated, gateway: 192.168.%d.1, ranges: [192.168.%d.10-192.168.%d.250], dhcp: {range: 192.168.%d.251-192.168.%d.254}}",
			n%250, n%250, n%250, n%250, n%250)
		return []string{"lan"}
	}
	m.line("        - {name: backbone, type: direct, parent: backbone}")
	m.line("        - {name: dmz, type: routed, parent: edge, gateway: 192.168.1.1, ranges: [192.168.1.10-192.168.1.250], firewall: {defaultAction: drop, " +
		"rules: [{description: web, policy: allow, protocols: [tcp], source: Any, destination: internal, destinationPort: \"443\"}]}}")
	return []string{"dmz", "backbone"}
}

func (m *maker) metadata(indent string, percent int) {
	if !m.chance(percent) {
		return
	}
	m.line("%smetadata:", indent)
	m.line("%s- {key: backup, value: %s}", indent, pick(m, "daily", "weekly", "never"))
	if m.chance(50) {
		m.line("%s- {key: cost center, value: \"%d\", type: number}", indent, m.random.IntN(10000))
	}
	if m.chance(10) {
		m.line("%s- {key: internal.id, value: %q, domain: system, visibility: private}", indent, fmt.Sprintf("%x", m.random.Uint64()))
	}
}

func (m *maker) vm(indent, name string, nets []string, subnet int) {
	cpus := pick(m, 1, 1, 2, 2, 2, 4, 4, 8, 16)
	m.line("%s- name: %q", indent, name)
	m.line("%s  guestID: %s", indent, pick(m, "ubuntu64Guest", "debian10_64Guest", "rhel8_64Guest", "windows2019srv_64Guest", "centos7_64Guest", "sles15_64Guest"))
	m.line("%s  cpus: %d\n%s  memory: %dMiB\n%s  power: %s", indent, cpus, indent, cpus*1024*pick(m, 1, 2, 4), indent,
		pick(m, "on", "on", "on", "on", "on", "on", "off", "off", "off", "suspended"))
	var disks []string
	for range pick(m, 1, 1, 1, 2, 2, 3) {
		disks = append(disks, fmt.Sprintf("{size: %dB%s}", int64(m.Disk)*int64(pick(m, 1, 1, 1, 2, 4, 8)), m.fill()))
	}
	m.line("%s  disks: [%s]", indent, strings.Join(disks, ", "))
	var nics []string
	for _, net := range nets {
		nic := "{network: " + net + ", mode: pool"
		switch {
		case m.chance(15):
			nic = "{network: " + net + ", mode: dhcp"
		case m.chance(10) && net == "backbone":
			nic = fmt.Sprintf("{network: backbone, mode: manual, ip: 10.%d.%d.%d", subnet, 200+m.vms/250%50, 1+m.vms%250)
		}
		nics = append(nics, nic+pick(m, "", "", "", ", type: E1000", ", disconnected: true")+"}")
	}
	m.line("%s  nics: [%s]", indent, strings.Join(nics, ", "))
	m.metadata(indent+"  ", 15)
}

func (m *maker) fill() string {
	if m.Fill == 0 {
		return ""
	}
	return fmt.Sprintf(", fill: %dB", m.Fill)
}
