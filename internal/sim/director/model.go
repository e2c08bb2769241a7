package director

import (
	"cmp"
	"slices"
	"time"

	"github.com/vmware/govmomi/vim25/types"
)

// An inventory is everything that vCD's database holds. The server's mutex
// guards it and all that hangs from it. It is saved as it is: plain data, with
// a tag at what is only good for the running process.
type inventory struct {
	vcenters map[string]*vcenter // by id, as are all of these
	orgs     map[string]*org
	users    map[string]*user
	roles    map[string]*role
	vdcs     map[string]*vdc
	profiles map[string]*profile
	nets     map[string]*orgNet
	vapps    map[string]*vapp
	vms      map[string]*vm
	vappNets map[string]*vappNet
	tasks    map[string]*task
	policies map[string]*policy
	sessions map[string]*login `graph:"-"` // by token
	seq      int               // of creation, for a stable order
	macs     uint32            // last one given
	revoked  map[string]bool
	disks    map[string]*disk
	rules    map[string]*affinityRule

	catalogs      map[string]*catalog
	catalogItems  map[string]*catalogItem
	templates     map[string]*vappTemplate
	media         map[string]*media
	transfers     map[string]*transfer
	discoveryOff  bool // VM discovery, for the whole installation
	pvdcs         map[string]*pvdc
	extDocs       map[string]*extDoc
	pvdcProfiles  map[string]*pvdcProfile
	logicalGroups map[string]*logicalGroup
	quotaPolicies map[string]*quotaPolicy
	quotaOf       map[string]string        // id of an organization, user or vApp -> quota policy
	bundles       map[string]*rightsBundle // rights bundles and global roles, by id
	groups        map[string]*userGroup
	tokens        map[string]*apiToken // and clients that wait for theirs, by id
	accounts      map[string]*serviceAccount
	events        []*event           // the newest last
	extNets       map[string]*extNet // external networks
	edges         map[string]*edge
	netDocs       map[string]*netDoc
	movedOn       int64 // Server.ahead, as it was saved
}

func newInventory() inventory {
	return inventory{
		vcenters: map[string]*vcenter{}, orgs: map[string]*org{}, users: map[string]*user{}, roles: map[string]*role{},
		vdcs: map[string]*vdc{}, profiles: map[string]*profile{}, nets: map[string]*orgNet{}, vapps: map[string]*vapp{},
		vms: map[string]*vm{}, vappNets: map[string]*vappNet{}, tasks: map[string]*task{}, policies: map[string]*policy{},
		sessions: map[string]*login{}, revoked: map[string]bool{},
		disks: map[string]*disk{}, rules: map[string]*affinityRule{},
		bundles: map[string]*rightsBundle{}, groups: map[string]*userGroup{}, tokens: map[string]*apiToken{}, accounts: map[string]*serviceAccount{},
		extNets: map[string]*extNet{}, edges: map[string]*edge{}, netDocs: map[string]*netDoc{},
		catalogs: map[string]*catalog{}, catalogItems: map[string]*catalogItem{}, templates: map[string]*vappTemplate{},
		media: map[string]*media{}, transfers: map[string]*transfer{},
		pvdcs: map[string]*pvdc{}, extDocs: map[string]*extDoc{}, pvdcProfiles: map[string]*pvdcProfile{}, logicalGroups: map[string]*logicalGroup{},
		quotaPolicies: map[string]*quotaPolicy{}, quotaOf: map[string]string{},
	}
}

// A thing is what all entities have.
type thing struct {
	id, name, desc string
	seq            int
}

func (t *thing) order() int { return t.seq }

type org struct {
	thing
	fullName              string
	enabled               bool
	deployedQuota, stored int
	lease                 OrgLease
	meta                  metadata
	system                bool
	settings              orgSettings

	discovery string // true, false, or "" for what the installation has
}

type role struct {
	thing
	org      string   // id
	rights   []string // names
	global   string   // id of the global role that it follows; "" for a role of the organization's own
	readOnly bool
}

type user struct {
	thing
	org             string // id
	fullName, email string
	password, role  string
	enabled         bool
	deployed, quota int
	phone, im       string
	external        bool
	provider        string    // INTEGRATED, SAML, OAUTH; INTEGRATED when empty
	failures        int       // wrong passwords in a row
	lockedUntil     time.Time // by them
	stranded        bool      // deleted while it owned things
}

type vdc struct {
	thing
	org           string // id
	vc            *vcenter
	pool, folder  types.ManagedObjectReference
	model         string
	enabled       bool
	vmQuota       int
	meta          metadata
	defaultPolicy string // compute policy id

	nicQuota, networkQuota int    // NICs: 0 is no limit; networks: 0 is none
	vcpuMHz                int64  // 0: 1000
	discovery              string // true, false, or "" for what the organization has
	networkProvider        string // NSX_V; anything else is NSX-T

	pvdc                         string   // id
	policies                     []string // ids of the compute policies that it offers
	maxPolicy                    string   // id
	cpu, memory                  capacityLimit
	cpuGuaranteed, memGuaranteed float64 // parts of the allocation that are reserved
	thin, fast, elastic          bool
	overhead, overCommit         bool
	networkPool                  namedRef
	status                       int    // one of vdcReady, …
	own                          bool   // pool and folder were made with it, and go with it
	everyone                     string // access level
	access                       []grant
}

type profile struct {
	thing
	vdc        string // id
	limitMB    int64
	isDefault  bool
	enabled    bool
	datastores []string
	meta       metadata

	pvdcProfile string // id
	iops        *iopsSettings
}

type orgNet struct {
	thing
	vdc              string // id
	mode             string
	scope            ipScope
	shared           bool
	portgroup        string
	external, edge   string
	externalID, edID string
	meta             metadata

	more       []ipScope // further subnets
	connection string    // to the edge: INTERNAL, SUBINTERFACE, DISTRIBUTED, NON_DISTRIBUTED
	service    *node     // ServiceConfig of an isolated network
	guestVLAN  bool
	group      string // id of the VDC group that owns it
	extra      string // the JSON that it was last written as
	dhcp       string // JSON of its DHCP, "" without
	opaque     string // OPAQUE where it was imported; then backing is what it is
	backing    string
}

// An ipScope is a subnet and the ranges of its pool.
type ipScope struct {
	gateway, netmask, dns1, dns2, suffix string
	ranges                               []IPRange

	bits int // prefix length, where there is no netmask: IPv6
}

type vapp struct {
	thing
	vdc         string // id
	owner       string // user id
	created     time.Time
	lease       Lease
	deployedAt  time.Time // of the lease's start; zero while undeployed
	storedAt    time.Time
	deployed    bool
	maintenance bool
	auto        bool // isAutoNature
	discovered  bool // by VM discovery, and not changed since
	nets        []*vappNet
	vms         []*vm
	startup     map[string]StartupItem // by VM id
	everyone    string                 // access level
	access      []grant
	meta        metadata
	products    []*node
	status      int           // -1, 0 while being made; else it follows from the VMs
	template    *vappTemplate // whose content this is; nil for a vApp
	leaseTried  time.Time     // when the end of a lease was last acted on
	expired     bool          // its storage lease ran out, and it was not deleted
	download    *transfer
}

// A grant is one access setting of a vApp.
type grant struct{ user, level string }

type vappNet struct {
	thing
	vapp     *vapp
	conf     *node // NetworkConfiguration, without RouterInfo
	parent   string
	routerIP string

	external  map[string]string // addresses outside that NAT gave, by natKey
	portgroup string            // of its own in vCenter, while deployed
	meta      metadata
}

type vm struct {
	thing
	vapp         *vapp
	vc           *vcenter
	moref        string
	scopedID     string
	created      time.Time
	deployed     bool
	customize    bool // needsCustomization
	nics         []*nic
	primary      int
	guest        GuestSpec
	computer     string
	bootDelay    int
	enterBIOS    bool
	profile      string // id
	policy       string // id of the compute policy
	meta         metadata
	products     []*node
	tags         []string // security tags
	facts        *facts   `graph:"-"` // as last seen in vCenter
	creating     bool
	toolsSync    bool
	diskProfiles map[int32]string // device key -> profile id, where it is not the VM's
	lost         bool             // not in vCenter any more
	seen         sight
	diskOrder    []string         // profile ids by disk, until the keys of the devices are known
	held         bool             `graph:"-"` // in Server.remembered
	seenAt       time.Time        `graph:"-"`
	placement    string           // id of the placement policy
	cpuType      string           // VirtualCpuType
	noTools      bool             // VMware Tools is not installed in the guest
	customized   time.Time        // until when the guest customizes itself
	checked      time.Time        // its compliance
	inserted     map[int32]string // device key of a drive -> media id
	frozen       string           // moref of the snapshot that linked clones are made of
	shadows      []*shadowVM      // of a template's VM
}

// A nic is what vCD knows about a network device.
type nic struct {
	key       int32 // device key in vCenter
	index     int
	network   string // "none" when on no network
	mode      string
	ip        string
	mac       string
	adapter   string
	connected bool
	customize bool
}

func (s *Server) next() int { s.seq++; return s.seq }

// orgOf is the organization of a vApp.
func (s *Server) orgOf(a *vapp) *org { return s.orgs[s.vdcs[a.vdc].org] }

// sorted lists the entities of m in the order of their making.
func sorted[T interface{ order() int }](m map[string]T) []T {
	out := make([]T, 0, len(m))
	for _, v := range m {
		out = append(out, v)
	}
	slices.SortFunc(out, func(a, b T) int { return cmp.Compare(a.order(), b.order()) })
	return out
}
