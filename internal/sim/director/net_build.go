package director

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// An ExternalNetworkSpec describes an external network.
type ExternalNetworkSpec struct {
	ID                string // UUID; made when empty
	Name, Description string
	Subnets           []SubnetSpec
	Portgroup         string // in a vCenter; with it, NSX-T has nothing to do with the network
	VCenter           string // name; the only one when empty
	NSXTManager, Tier string // name of the manager, name of its tier-0 router
}

// A SubnetSpec is a subnet and its pool.
type SubnetSpec struct {
	Gateway, Netmask      string
	DNS1, DNS2, DNSSuffix string
	Ranges                []IPRange
}

func (n SubnetSpec) scope() ipScope {
	return ipScope{gateway: n.Gateway, netmask: or(n.Netmask, "255.255.255.0"), dns1: n.DNS1, dns2: n.DNS2, suffix: n.DNSSuffix, ranges: n.Ranges}
}

// An EdgeSpec describes an edge gateway. Its addresses are taken from the
// pools of its external networks.
type EdgeSpec struct {
	ID                string // UUID; made when empty
	VDC               string // name or UUID
	Name, Description string
	Uplinks           []UplinkSpec
}

// An UplinkSpec joins an edge to an external network. Ranges are set aside for
// the edge.
type UplinkSpec struct {
	Network string // name
	IP      string // the lowest free address of the pool when empty
	Ranges  []IPRange
}

// AddExternalNetwork makes an external network and returns its UUID.
func (s *Server) AddExternalNetwork(spec ExternalNetworkSpec) (string, error) {
	n := &extNet{thing: thing{id: or(spec.ID, uuidOf("external network", spec.Name)), name: spec.Name, desc: spec.Description}}
	for _, sub := range spec.Subnets {
		sc := sub.scope()
		if err := sc.check(spec.Name); err != nil {
			return "", fmt.Errorf("external network %s: %w", spec.Name, err)
		}
		n.subnets = append(n.subnets, sc)
	}
	s.mu.Lock()
	vc := s.vcenterNamed(spec.VCenter)
	s.mu.Unlock()
	switch {
	case spec.Portgroup != "" && vc == nil:
		return "", fmt.Errorf("external network %s: no vCenter %q", spec.Name, spec.VCenter)
	case spec.Portgroup != "":
		pgs, err := vc.listPortgroups(s.ctx)
		if err != nil {
			return "", fmt.Errorf("external network %s: %w", spec.Name, err)
		}
		i := slices.IndexFunc(pgs, func(p portgroup) bool { return p.name == spec.Portgroup })
		if i < 0 {
			return "", fmt.Errorf("external network %s: no port group %s in vCenter %s", spec.Name, spec.Portgroup, vc.name)
		}
		n.backings = []netBacking{{pgs[i].moref, pgs[i].name, pgs[i].typ, vc.id}}
	case spec.NSXTManager != "":
		manager := s.addNSXT(spec.NSXTManager)
		n.backings = []netBacking{{s.addImportable("tier0", manager, or(spec.Tier, spec.Name)), or(spec.Tier, spec.Name), "NSXT_TIER0", manager}}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.extNamed(n.name) != nil {
		return "", fmt.Errorf("external network %s: the name is taken", n.name)
	}
	n.seq = s.next()
	s.extNets[n.id] = n
	return n.id, nil
}

// addNSXT makes an NSX-T manager of that name unless there is one.
func (s *Server) addNSXT(name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := uuidOf("NSX-T manager", name)
	if s.netDocs[id] == nil {
		s.netDocs[id] = &netDoc{thing: thing{id: id, name: name, seq: s.next()}, kind: "nsxtManager", body: asText(map[string]any{
			"name": name, "description": "", "url": "https://" + name + ".example", "username": "admin", "networkProviderScope": nil})}
		s.netDocs[uuidOf("edge cluster")] = &netDoc{thing: thing{id: uuidOf("edge cluster"), name: edgeCluster, seq: s.next()}, kind: "edgeCluster", parent: id}
		zone := uuidOf("transport zone", id)
		s.netDocs[zone] = &netDoc{thing: thing{id: zone, name: "overlay-tz", seq: s.next()}, kind: "transportZone", parent: id}
		for kind, profile := range segmentKinds {
			for _, name := range []string{profile, "default-" + profile} {
				p := uuidOf(kind, name, id)
				s.netDocs[p] = &netDoc{thing: thing{id: p, name: name, seq: s.next()}, kind: kind, parent: id}
			}
		}
		s.addSystemProfiles()
	}
	return id
}

// applications are what network context profiles of NSX-T tell apart, by the
// names that its APP_ID attribute gives them (NSX-T Data Center, Layer 7
// Firewall Rule Workflow).
const applications = "AMQP ACTIVDIR AD_BKUP AD_NSP AVAST AVG AVIRA BDEFNDER BLAST CA_CERT CIFS CLDAP CTRXCGP CTRXGOTO CTRXICA DCERPC DHCP DIAMETER DNS " +
	"EPIC ESET FPROT FTP GITHUB HTTP HTTP2 IMAP ISCSI KASPRSKY KERBEROS LDAP MAXDB MCAFEE MSSQL MYSQL NFS NNTP NTP OCSP ORACLE PANDA PCOIP POP3 " +
	"RADIUS RDP RTCP RTP RTSP SIP SMTP SNMP SSH SSL SYMUPDAT SYSLOG TELNET TFTP VNC WINS"

// addSystemProfiles makes the application port profiles and the network context
// profiles that come with NSX-T.
func (s *Server) addSystemProfiles() {
	for name := range strings.FieldsSeq(applications) {
		id := uuidOf("network context profile", name)
		s.netDocs[id] = &netDoc{thing: thing{id: id, name: name, seq: s.next()}, kind: "networkContextProfile", body: asText(map[string]any{
			"name": name, "description": name, "scope": "SYSTEM", "orgRef": nil, "contextEntityId": nil, "networkProviderScope": nil,
			"attributes": []any{map[string]any{"type": "APP_ID", "values": []any{name}, "subAttributes": nil}}})}
	}
	for _, p := range []struct{ name, protocol, port string }{{"HTTP", "TCP", "80"}, {"HTTPS", "TCP", "443"}, {"SSH", "TCP", "22"},
		{"DNS", "UDP", "53"}, {"FTP", "TCP", "21"}, {"NTP", "UDP", "123"}, {"SMTP", "TCP", "25"}, {"LDAP", "TCP", "389"}, {"MySQL", "TCP", "3306"},
		{"RDP", "TCP", "3389"}, {"IMAP", "TCP", "143"}, {"POP3", "TCP", "110"}, {"NFS", "TCP", "2049"}, {"SNMP", "UDP", "161"}, {"Syslog", "UDP", "514"},
		{"Telnet", "TCP", "23"}, {"PostgreSQL", "TCP", "5432"}, {"Kerberos", "TCP", "88"}, {"SIP", "TCP", "5060"}, {"TFTP", "UDP", "69"},
		{"AMQP", "TCP", "5672"}, {"BGP", "TCP", "179"}, {"CIM-HTTP", "TCP", "5988"}, {"CIM-HTTPS", "TCP", "5989"}, {"DNS-TCP", "TCP", "53"},
		{"IMAP_SSL", "TCP", "993"}, {"IKE (Key Exchange)", "UDP", "500"}, {"IKE (NAT Traversal)", "UDP", "4500"}, {"KERBEROS-TCP", "TCP", "88"},
		{"LDAP Global Catalog", "TCP", "3268"}, {"LDAP-over-SSL", "TCP", "636"}, {"LDAP-UDP", "UDP", "389"}, {"MS-DS-TCP", "TCP", "445"},
		{"MS-SQL-M-TCP", "TCP", "1434"}, {"MS-SQL-S", "TCP", "1433"}, {"NBDG-Unicast", "UDP", "138"}, {"NBNS-Unicast", "UDP", "137"},
		{"NBSS", "TCP", "139"}, {"NNTP", "TCP", "119"}, {"NTP Time Server", "UDP", "123"}, {"Oracle", "TCP", "1521"}, {"RADIUS", "UDP", "1812"},
		{"RADIUS Accounting", "UDP", "1813"}, {"RTSP (TCP)", "TCP", "554"}, {"SMTP_TLS", "TCP", "587"}, {"SNMP-Trap", "UDP", "162"},
		{"Syslog-Server", "UDP", "514"}, {"TFTP-TCP", "TCP", "69"}, {"VNC", "TCP", "5900"}, {"WINS", "TCP", "1512"}} {
		id := uuidOf("application port profile", p.name)
		s.netDocs[id] = &netDoc{thing: thing{id: id, name: p.name, seq: s.next()}, kind: "applicationPortProfile", body: asText(map[string]any{
			"name": p.name, "description": p.name, "scope": "SYSTEM",
			"applicationPorts": []any{map[string]any{"protocol": p.protocol, "destinationPorts": []any{p.port}}}})}
	}
}

// addImportable makes a router or segment that can be imported, and returns
// its id.
func (s *Server) addImportable(kind, manager, name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := uuidOf(kind, manager, name)
	if s.netDocs[id] == nil {
		s.netDocs[id] = &netDoc{thing: thing{id: id, name: name, seq: s.next()}, kind: kind, parent: manager}
	}
	return id
}

// AddNSXTManager makes an NSX-T manager with tier-0 routers and segments that
// can be imported, and returns its UUID.
func (s *Server) AddNSXTManager(name string, tier0, segments []string) string {
	id := s.addNSXT(name)
	for _, t := range tier0 {
		s.addImportable("tier0", id, t)
	}
	for _, t := range segments {
		s.addImportable("segment", id, t)
	}
	return id
}

// AddNetworkPool makes a network pool; types are VXLAN, GENEVE, VLAN and
// PORTGROUP_BACKED.
func (s *Server) AddNetworkPool(name, typ, description string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := uuidOf("network pool", name)
	body := map[string]any{"name": name, "description": description, "poolType": typ, "status": "REALIZED", "promiscuousMode": nil,
		"inUse": false, "totalBackingsCount": nil, "usedBackingsCount": nil, "backing": nil}
	s.netDocs[id] = &netDoc{thing: thing{id: id, name: name, desc: description, seq: s.next()}, kind: "networkPool", body: asText(body)}
	return id
}

// AddEdge makes an edge gateway and returns its UUID.
func (s *Server) AddEdge(spec EdgeSpec) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.vdcNamed(spec.VDC)
	if v == nil {
		return "", fmt.Errorf("edge %s: no VDC %s", spec.Name, spec.VDC)
	}
	e := &edge{thing: thing{id: or(spec.ID, uuidOf("edge", v.id, spec.Name)), name: spec.Name, desc: spec.Description, seq: s.next()}, vdc: v.id}
	for _, u := range spec.Uplinks {
		n := s.extNamed(u.Network)
		if n == nil || len(n.subnets) == 0 {
			return "", fmt.Errorf("edge %s: no external network %s with a subnet", spec.Name, u.Network)
		}
		sc, ip := n.subnets[0], u.IP
		if ip == "" {
			var err error
			if ip, err = sc.free(s.usedOn(n)); err != nil {
				return "", fmt.Errorf("edge %s: external network %s: %w", spec.Name, n.name, err)
			}
		}
		sc.ranges = u.Ranges
		if len(sc.ranges) == 0 {
			sc.ranges = []IPRange{{ip, ip}}
		}
		e.uplinks = append(e.uplinks, uplink{net: n.id, subnets: []ipScope{sc}, primary: []string{ip}})
	}
	s.edges[e.id] = e
	return e.id, nil
}

// A VDCGroupSpec describes a VDC group of an organization.
type VDCGroupSpec struct {
	Org               string // name or UUID
	Name, Description string
	VDCs              []string // names or UUIDs
}

// AddVDCGroup makes a VDC group and returns its UUID.
func (s *Server) AddVDCGroup(spec VDCGroupSpec) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.orgNamed(spec.Org)
	if o == nil {
		return "", fmt.Errorf("VDC group %s: no org %s", spec.Name, spec.Org)
	}
	var members []any
	for _, name := range spec.VDCs {
		i := slices.IndexFunc(sorted(s.vdcs), func(v *vdc) bool { return v.org == o.id && (v.name == name || v.id == name) })
		if i < 0 {
			return "", fmt.Errorf("VDC group %s: no VDC %s", spec.Name, name)
		}
		v := sorted(s.vdcs)[i]
		if !v.nsxt() {
			return "", fmt.Errorf("VDC group %s: the networks of VDC %s are not of NSX-T", spec.Name, name)
		}
		members = append(members, map[string]any{"vdcRef": refTo("urn:vcloud:vdc:"+v.id, v.name)})
	}
	id := uuidOf("VDC group", o.id, spec.Name)
	s.netDocs[id] = &netDoc{thing: thing{id: id, name: spec.Name, desc: spec.Description, seq: s.next()}, kind: vdcGroups.kind, parent: o.id, body: asText(map[string]any{
		"name": spec.Name, "description": spec.Description, "orgId": "urn:vcloud:org:" + o.id, "type": "LOCAL", "networkProviderType": "NSX_T",
		"participatingOrgVdcs": members})}
	return id, nil
}

// AddOrgNetwork makes an organization VDC network and returns its UUID. The
// external network or edge that it names is made where there is none: older
// inventories only name them.
func (s *Server) AddOrgNetwork(n OrgNetworkSpec) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.vdcNamed(n.VDC)
	if v == nil {
		return "", fmt.Errorf("org network %s: no VDC %s", n.Name, n.VDC)
	}
	net := &orgNet{
		thing: thing{id: idOr(n.ID), name: n.Name, desc: n.Description, seq: s.next()}, vdc: v.id, mode: or(n.Mode, "bridged"),
		scope:  ipScope{gateway: n.Gateway, netmask: or(n.Netmask, "255.255.255.0"), dns1: n.DNS1, dns2: n.DNS2, suffix: n.DNSSuffix, ranges: n.Ranges},
		shared: n.Shared, portgroup: n.Portgroup, external: n.ExternalName, edge: n.EdgeGateway, connection: "INTERNAL",
	}
	if net.external != "" {
		e := s.extNamed(net.external)
		if e == nil {
			e = &extNet{thing: thing{id: uuidOf("external network", net.external), name: net.external, seq: s.next()}, subnets: []ipScope{net.scope}}
			if net.portgroup != "" {
				e.backings = []netBacking{{net.portgroup, net.portgroup, "DV_PORTGROUP", v.vc.id}}
			}
			s.extNets[e.id] = e
		}
		net.externalID = e.id
	}
	if net.edge != "" {
		e := s.edgeNamed(v.id, net.edge)
		if e == nil {
			e = &edge{thing: thing{id: uuidOf("edge", v.id, net.edge), name: net.edge, seq: s.next()}, vdc: v.id}
			s.edges[e.id] = e
		}
		net.edID = e.id
	}
	s.nets[net.id] = net
	return net.id, nil
}

// SetNetworkProvider says what provides a VDC's networks: NSX_T or NSX_V.
func (s *Server) SetNetworkProvider(vdcName, provider string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.vdcNamed(vdcName)
	if v == nil {
		return fmt.Errorf("no VDC %s", vdcName)
	}
	v.networkProvider = provider
	return nil
}

// A portgroup is a network of a vCenter.
type portgroup struct{ moref, name, typ string }

// portgroupsOf lists a vCenter's networks. The server's mutex is held before
// and after, but not meanwhile.
func (s *Server) portgroupsOf(ctx context.Context, vc *vcenter) ([]portgroup, error) {
	s.mu.Unlock()
	defer s.mu.Lock()
	return vc.listPortgroups(ctx)
}

// switchesOf is portgroupsOf for distributed switches.
func (s *Server) switchesOf(ctx context.Context, vc *vcenter) ([]portgroup, error) {
	s.mu.Unlock()
	defer s.mu.Lock()
	return vc.listSwitches(ctx)
}
