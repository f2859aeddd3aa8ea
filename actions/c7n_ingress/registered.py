"""The pack's actions, filters and source: importing this module registers them with Cloud Custodian."""

import c7n_ingress.actions.mark_each_for_op
import c7n_ingress.actions.notify_in_parts
import c7n_ingress.actions.replace_ingress
import c7n_ingress.actions.restore_ingress
import c7n_ingress.aws.live
import c7n_ingress.filters.exempt
import c7n_ingress.filters.exposure
import c7n_ingress.filters.marked
import c7n_ingress.filters.named
import c7n_ingress.filters.open_ingress
