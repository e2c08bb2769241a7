package director

import "time"

// A catalog is an organization's.
type catalog struct {
	thing
	org       string // id
	owner     string // user id
	created   time.Time
	version   int64
	published bool           // to every organization
	everyone  string         // access level of the organization's members
	access    []catalogGrant // beyond it
	profiles  []string       // ids of storage profiles; those of the VDC when none
	items     []*catalogItem
	meta      metadata
	external  *node // PublishExternalCatalogParams; nil while it is not published so
	password  string

	subscription *subscription // to another catalog; nil for one that has its own content
}

// A catalogGrant is one access setting of a catalog. Kind is user or org.
type catalogGrant struct{ kind, id, level string }

// A catalogItem puts a template or a medium in a catalog; it has one of them.
type catalogItem struct {
	thing
	catalog    *catalog
	template   *vappTemplate
	media      *media
	created    time.Time
	version    int64
	meta       metadata
	properties []*node

	source  string // id of the item that it follows, in a catalog with a subscription
	content string // id of the entity there that it has a copy of
}

// A vappTemplate is a vApp that cannot run. Its content is not in the
// inventory's vApps, its VMs are in the inventory's VMs; all have an address
// below /api/vAppTemplate.
type vappTemplate struct {
	content   *vapp
	item      *catalogItem
	gold      bool
	customize bool // CustomizeOnInstantiate
	eulas     []string
	profile   string // id
	upload    *transfer
}

func (t *vappTemplate) id() string { return t.content.id }

// media is an ISO or floppy image on a datastore of its VDC.
type media struct {
	thing
	vdc      string // id
	item     *catalogItem
	owner    string // user id
	created  time.Time
	image    string // iso or floppy
	size     int64  // bytes
	profile  string // id
	file     string // "[datastore] path" in the VDC's vCenter; "" until it is there
	status   int    // 0 while it is being uploaded, 1, -1
	meta     metadata
	upload   *transfer
	download *transfer
}

// A transfer is an upload or a download under way in the transfer spool.
type transfer struct {
	id       string
	files    []*transferFile
	upload   bool
	owner    string // user id
	task     string // id
	started  time.Time
	touched  time.Time
	deadline time.Duration // without progress
	manifest bool          // one must come
	fetched  bool          // by the server itself: nobody else brings anything
}

// A transferFile is one file of a transfer.
type transferFile struct {
	name     string // as it is asked for
	size     int64  // -1 until it is known
	got      int64  // bytes that have arrived, without a hole
	chunk    int64  // size of its pieces, 0 for a file in one piece
	path     string // in the spool
	checksum string
	done     bool
}
