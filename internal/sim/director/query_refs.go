package director

import "strings"

// queryRefs are the entities that the format references has elements of their
// own for (queryReferenceView.xsd). What has none is shown in records only.
const queryRefs = " AclRule AdminApiDefinition AdminDisk AdminEvent AdminFileDescriptor AdminOrgVdcStorageProfile AdminService AdminVdc ApiDefinition " +
	"ApiFilter BlockingTask Catalog CatalogItem Datastore Disk EdgeGateway Group Host Media Network NetworkPool Org OrgNetwork OrgVdc OrgVdcNetwork " +
	"OrgVdcStorageProfile ProviderVdcStorageProfile ResourceClass ResourceClassAction Right Role Service ServiceLink StrandedItem Task User VApp " +
	"VAppNetwork VAppOrgNetworkRelation VAppOrgVdcNetworkRelation VAppTemplate VM VMWProviderVdc VirtualCenter VmGroupVms VmGroups "

// refNames are the types whose references are not called like them.
var refNames = map[string]string{"organization": "Org", "vm": "VM", "providerVdc": "VMWProviderVdc", "adminOrgVdc": "AdminVdc", "externalNetwork": "Network"}

// refKind is what the references of a query type are called, without their
// "Reference"; "" for one that has no such format.
func refKind(typ string) string {
	kind := refNames[typ]
	if kind == "" {
		kind = strings.ToUpper(typ[:1]) + typ[1:]
	}
	for _, k := range []string{kind, strings.TrimPrefix(kind, "Admin")} {
		if strings.Contains(queryRefs, " "+k+" ") {
			return k
		}
	}
	return ""
}

// formats are those that a query type can be asked for in.
func formats(typ string) []string {
	if refKind(typ) == "" {
		return []string{"records", "idrecords"}
	}
	return []string{"references", "records", "idrecords"}
}

// toReferences turns the result of a query from records to references.
func toReferences(d *node, kind string) {
	d.Tag = kind + "References"
	for _, r := range d.ChildElements() {
		if r.Tag == "Link" {
			continue
		}
		ref := el(kind+"Reference", "href", r.SelectAttrValue("href", ""), "id", r.SelectAttrValue("id", ""), "name", r.SelectAttrValue("name", ""))
		for _, name := range []string{"id", "name"} {
			if a := ref.SelectAttr(name); a != nil && a.Value == "" {
				ref.RemoveAttr(name)
			}
		}
		d.InsertChildAt(r.Index(), ref)
		d.RemoveChild(r)
	}
}
