package cloud

// A Catalog of an org. Its templates and media live in VDCs of the org.
type Catalog struct {
	Name            string     `yaml:"name"`
	Description     string     `yaml:"description"`
	Owner           string     `yaml:"owner"`      // a user of the org; default: the first one
	Published       bool       `yaml:"published"`  // to all orgs
	SharedWith      []string   `yaml:"sharedWith"` // other orgs of the site, to read
	Access          *Access    `yaml:"access"`
	StorageProfiles []string   `yaml:"storageProfiles"` // VDC/NAME
	Metadata        []Metadata `yaml:"metadata"`
	Templates       []Template `yaml:"templates"`
	Media           []Medium   `yaml:"media"`
}

// A Template is a vApp template: VMs that are off.
type Template struct {
	VApp            `yaml:",inline"`
	VDC             string   `yaml:"vdc"` // default: the org's first one
	GoldMaster      bool     `yaml:"goldMaster"`
	NoCustomization bool     `yaml:"noCustomization"` // copies keep the identity of the original
	EULAs           []string `yaml:"eulas"`
	StorageProfile  string   `yaml:"storageProfile"`
}

// A Medium is an ISO image: a file, or one of a size with nothing in it.
type Medium struct {
	Name           string     `yaml:"name"`
	Description    string     `yaml:"description"`
	VDC            string     `yaml:"vdc"` // default: the org's first one
	Owner          string     `yaml:"owner"`
	Size           Size       `yaml:"size"`
	From           string     `yaml:"from"` // relative to the inventory
	StorageProfile string     `yaml:"storageProfile"`
	Metadata       []Metadata `yaml:"metadata"`
}
