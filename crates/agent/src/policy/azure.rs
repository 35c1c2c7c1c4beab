//! What a source or a store that is a container of Azure has to be allowed, as a role of its
//! own. A shared access signature that allows the same has the letters that stand beside it.

use sealift_store::{AZURE_SOURCE_ACTIONS, AZURE_STORE_ACTIONS, AzureSettings, BucketSettings};
use serde_json::{Map, Value, json};

use crate::config::{Config, SourceFrom};

/// Stand for what the configuration does not know.
const SCOPE: &str = "/subscriptions/SUBSCRIPTION/resourceGroups/GROUP/providers/Microsoft.Storage";

/// The roles of containers, by what they are for.
pub(super) fn roles(config: &Config) -> Map<String, Value> {
    let mut roles = Map::new();
    for source in &config.sources {
        if let SourceFrom::Azure(container) = &source.from {
            let name = format!("source {}", source.bucket);
            let role = role(&name, &container.settings, &AZURE_SOURCE_ACTIONS, "rlt");
            roles.insert(name, role);
        }
    }
    if let Some(bucket) = &config.store
        && let BucketSettings::Azure(settings) = &bucket.settings
    {
        let role = role("store", settings, &AZURE_STORE_ACTIONS, "rwdl");
        roles.insert("store".to_owned(), role);
    }
    roles
}

fn role(name: &str, settings: &AzureSettings, actions: &[&str], sas: &str) -> Value {
    let (account, container) = (&settings.account, &settings.container);
    let scope =
        format!("{SCOPE}/storageAccounts/{account}/blobServices/default/containers/{container}");
    json!({
        "role": {
            "Name": format!("sealift {name}"), "IsCustom": true,
            "Actions": [], "DataActions": actions, "AssignableScopes": [scope],
        },
        "sas_permissions": sas,
    })
}

#[cfg(test)]
mod tests {
    use crate::{aws_policies, policy::example_with};

    #[test]
    fn a_container_is_allowed_what_is_asked_of_it_and_nothing_of_aws_is_printed() {
        let config = example_with(
            "[[source]]\nbucket = \"photos\"\n[source.azure]\naccount = \"photos1\"\n\
             container = \"inbox\"\nsas_file = \"s\"\n[store.azure]\naccount = \"sealedb\"\n\
             container = \"sealed\"\nkey_file = \"k\"\n",
        );
        let printed = aws_policies(&config, "arn:role").unwrap();
        assert!(printed.get("iam_policy").is_none());
        let roles = &printed["azure_roles"];
        let of_store = &roles["store"]["role"];
        let actions = of_store["DataActions"].as_array().unwrap();
        assert_eq!(actions.len(), 3);
        assert!(
            of_store["AssignableScopes"][0]
                .as_str()
                .unwrap()
                .ends_with("/storageAccounts/sealedb/blobServices/default/containers/sealed")
        );
        let of_source = &roles["source photos"];
        assert_eq!(of_source["sas_permissions"], "rlt");
        let actions = of_source["role"]["DataActions"].to_string();
        assert!(actions.contains("blobs/tags/read") && !actions.contains("write"));
    }
}
