package document

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/beevik/etree"

	"github.com/vappvault/vappvault/internal/restorepoint"
)

// A Difference is a field that reads back otherwise than the restore point
// has it.
type Difference struct {
	Document string `json:"document"` // path inside the restore point
	Field    string `json:"field"`    // path of the element or attribute
	Want     string `json:"want"`
	Got      string `json:"got"`
	// Reason says why the field cannot be equal. Without one the difference
	// is a fault.
	Reason string `json:"reason,omitempty"`
}

// identity lists what names an object rather than describes it: it differs
// whenever the object was made anew, and is compared by the names beside it.
var identity = map[string]bool{
	"href": true, "id": true, "operationKey": true,
	"storageProfileHref": true, "VirtualMachineId": true, "disk": true, "quotaPoolReference": true,
}

// skipped lists elements that describe what a caller may do next or what the
// server is doing, not what the object is.
var skipped = map[string]bool{"Link": true, "Tasks": true, "Children": true}

// exempt lists what vCD does not let anyone set, with the reason.
var exempt = map[string]string{
	"DateCreated":                 "vCD sets it when the object is made",
	"DeploymentLeaseExpiration":   "vCD counts the lease from now",
	"StorageLeaseExpiration":      "vCD counts the lease from now",
	"RouterInfo":                  "vCD chooses the router's external address",
	"IsDeployed":                  "follows the power state",
	"InMaintenanceMode":           "follows the restore, not the point",
	"VCloudExtension":             "names objects in vSphere",
	"VmVimInfo":                   "names objects in vSphere",
	"SnapshotSection":             "snapshots are recorded, not restored",
	"RuntimeInfoSection":          "the guest reports it",
	"needsCustomization":          "a restored guest is not customized unasked",
	"Environment":                 "vCD makes it for a VM that runs, out of the other sections",
	"status":                      "power state is restored by choice",
	"deployed":                    "power state is restored by choice",
	"VirtualSystemIdentifier":     "vCD names the VM in vSphere",
	"created":                     "vCD sets it",
	"ovfDescriptorUploaded":       "tells how the first vApp came to be",
	"DeploymentLeaseRemaining":    "vCD counts the lease from now",
	"PatchVersion":                "the host decides",
	"SyslogServerSettings":        "an administrator sets it per network",
	"BackwardCompatibilityMode":   "the VDC decides",
	"VirtualCpuType":              "the host decides",
	"MediaSection":                "media are inserted again where they still exist",
	"NetworkConnectionSectionUri": "names the object",
}

// exemptAt is exempt for an element in one place. An external address that a
// rule chooses by itself is compared.
var exemptAt = map[*regexp.Regexp]string{
	regexp.MustCompile(`/(OneToOneVmRule\[automatic\]|NetworkConnection(\[[^/]*\])?)/ExternalIpAddress$`): "vCD hands it out when the vApp is deployed",
}

// Compare lists the fields in which got differs from want, ids and hrefs
// aside. Fields are found by the names of elements and by what tells
// repeated elements apart (a network's name, a metadata key), so that order
// does not matter where the schema gives entries a key.
func Compare(document string, want, got []byte) ([]Difference, error) {
	w, err := flatten(want)
	if err != nil {
		return nil, fmt.Errorf("document %s: of the restore point: %w", document, err)
	}
	g, err := flatten(got)
	if err != nil {
		return nil, fmt.Errorf("document %s: read back: %w", document, err)
	}
	fields := map[string]bool{}
	for f := range w {
		fields[f] = true
	}
	for f := range g {
		fields[f] = true
	}
	var out []Difference
	for _, f := range slices.Sorted(maps.Keys(fields)) {
		if w[f] == g[f] {
			continue
		}
		d := Difference{Document: document, Field: f, Want: w[f], Got: g[f], Reason: reasonFor(f)}
		if IsSecret(f, w, g) {
			d.Want, d.Got = "[secret]", "[another secret]"
		}
		out = append(out, d)
	}
	return out, nil
}

// Flatten turns a document, XML or JSON, into its fields: path -> text. Ids
// and hrefs are left out, and what a caller may do next.
func Flatten(doc []byte) (map[string]string, error) { return flatten(doc) }

// Reason says why a field cannot be made equal to another document's, "" where
// it can.
func Reason(field string) string { return reasonFor(field) }

// IsSecret tells whether nobody may read a field: passwords, values of OVF
// properties and of options that are some, and those of an environment, which
// does not tell. Docs are the fields of the documents that have it.
func IsSecret(field string, docs ...map[string]string) bool {
	if restorepoint.IsSecret(field[strings.LastIndexByte(field, '/')+1:]) {
		return true
	}
	property, isValue := strings.CutSuffix(field, "/@value")
	if !isValue {
		return false
	}
	property = strings.TrimSuffix(property, "/Value")
	for _, doc := range docs {
		if doc[property+"/@password"] == "true" || doc[property+"/@password"] == "1" || restorepoint.IsSecretOption(doc[property+"/@key"]) {
			return true
		}
	}
	return strings.Contains(field, "/PropertySection")
}

// reasonFor finds the exemption of a field by any element on its path.
func reasonFor(field string) string {
	for part := range strings.SplitSeq(field, "/") {
		part, _, _ = strings.Cut(part, "[")
		if why := exempt[strings.TrimPrefix(part, "@")]; why != "" {
			return why
		}
	}
	for at, why := range exemptAt {
		if at.MatchString(field) {
			return why
		}
	}
	return ""
}

// flatten turns a document into fields: path -> text.
func flatten(doc []byte) (map[string]string, error) {
	out := map[string]string{}
	if json.Valid(doc) {
		var value any
		if err := json.Unmarshal(doc, &value); err != nil {
			return nil, err
		}
		flattenJSON(out, value, "")
		return out, nil
	}
	tree, err := Parse(doc)
	if err != nil {
		return nil, err
	}
	flattenInto(out, tree.Root(), "/"+tree.Root().Tag)
	return out, nil
}

// flattenJSON does the same for the documents of the OpenAPI calls. Lists
// there are sets: they are compared without their order.
func flattenJSON(out map[string]string, value any, path string) {
	switch v := value.(type) {
	case map[string]any:
		for k, e := range v {
			if !identity[k] && k != "link" {
				flattenJSON(out, e, path+"/"+k)
			}
		}
	case []any:
		for _, e := range v {
			if text, ok := e.(string); ok {
				out[path+"["+text+"]"] = text
				continue
			}
			raw, err := json.Marshal(e)
			if err == nil {
				out[path+"["+string(raw)+"]"] = string(raw)
			}
		}
	case nil:
	default:
		out[path] = fmt.Sprint(v)
	}
}

func flattenInto(out map[string]string, e *etree.Element, path string) {
	for _, a := range e.Attr {
		if a.Space == "xmlns" || a.Key == "xmlns" || identity[a.Key] || a.Key == "schemaLocation" {
			continue
		}
		value := a.Value
		if a.Key == "type" {
			if strings.Contains(value, "/") {
				continue // a media type: follows from the element
			}
			// xsi:type is a qualified name, whatever the prefix of the day.
			value = value[strings.LastIndexByte(value, ':')+1:]
		}
		out[path+"/@"+a.Key] = value
	}
	children := e.ChildElements()
	text := strings.TrimSpace(e.Text())
	if len(children) == 0 && text != "" && !identity[e.Tag] {
		out[path] = text
	}
	seen := map[string]int{}
	for _, c := range children {
		if skipped[c.Tag] || identity[c.Tag] {
			continue
		}
		name := c.Tag + key(c)
		seen[name]++
		if n := seen[name]; n > 1 {
			name = fmt.Sprintf("%s#%d", name, n)
		}
		flattenInto(out, c, path+"/"+name)
	}
}

// keys says what tells repeated elements of a kind apart.
var keys = map[string][]string{
	"NetworkConfig":     {"@networkName"},
	"NetworkConnection": {"NetworkConnectionIndex"},
	"MetadataEntry":     {"Domain", "Key"},
	"Item":              {"@id", "InstanceID"},
	"Network":           {"@name"},
	"AccessSetting":     {"Subject@name"},
	"Property":          {"@key"},
	"DiskSettings":      {"DiskId"},
	"FirewallRule":      {"Description", "Id"},
	"OneToOneVmRule":    {"MappingMode"},
	"VApp":              {},
}

func key(e *etree.Element) string {
	var parts []string
	for _, k := range keys[e.Tag] {
		child, attr, hasAttr := strings.Cut(k, "@")
		from := e
		if child != "" {
			from = Find(e, child)
		}
		if from == nil {
			continue
		}
		value := strings.TrimSpace(from.Text())
		if hasAttr {
			value = Attribute(from, attr)
		}
		if value != "" {
			parts = append(parts, strings.ReplaceAll(value, "/", "∕"))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return "[" + strings.Join(parts, ",") + "]"
}

// InEntry tells whether a field of a Difference lies in the entry with a key,
// such as the NetworkConfig of a network.
func InEntry(field, element, key string) bool {
	return strings.Contains(field, "/"+element+"["+strings.ReplaceAll(key, "/", "∕")+"]")
}
